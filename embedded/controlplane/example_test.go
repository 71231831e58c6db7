package controlplane_test

import (
	"context"
	"fmt"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane"
)

// The control plane of a cluster that `kl up` has made serves until the context is done.
func Example() {
	plane := &controlplane.Plane{Layout: cluster.Home("/home/me/.kl").Cluster("dev"), Started: time.Now()}
	fmt.Println(plane.Run(context.Background()))
}
