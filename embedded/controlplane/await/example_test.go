package await_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/klkube/kl/embedded/controlplane/await"
)

func ExampleSuccess() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	attempts := 0
	err := await.Success(ctx, time.Millisecond, func(context.Context) error {
		if attempts++; attempts < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	fmt.Println(attempts, err)
	// Output: 3 <nil>
}
