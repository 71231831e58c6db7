package doctor_test

import (
	"context"
	"fmt"

	"github.com/klkube/kl/cluster/doctor"
)

func Example() {
	for _, r := range doctor.Run(context.Background(), doctor.Host("/home/me/.kl", nil), doctor.All()) {
		fmt.Println(r.Level, r.Name, r.Detail, r.Fix)
	}
}
