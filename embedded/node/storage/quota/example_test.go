//go:build linux

package quota_test

import (
	"errors"
	"fmt"

	"github.com/klkube/kl/embedded/node/storage/quota"
)

func Example() {
	limiter := quota.Of("/var/lib/kl/volumes")
	err := limiter.Limit("/var/lib/kl/volumes/pvc-1234/data", 1<<30)
	if errors.Is(err, quota.ErrUnsupported) {
		fmt.Println("the volume may grow beyond 1 GiB:", err)
		return
	}
	if used, ok := limiter.Used("/var/lib/kl/volumes/pvc-1234/data"); ok {
		fmt.Println(used, "bytes used")
	}
}
