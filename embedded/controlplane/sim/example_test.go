package sim_test

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/nodewatch"
	"github.com/klkube/kl/embedded/controlplane/sim"
)

// Nodes with label type=kwok and their pods are simulated.
func Example() {
	layout := cluster.Home("/home/me/.kl").Cluster("dev")
	var admin *rest.Config        // the administrator's, without a rate limit
	var nodes *nodewatch.Informer // the control plane's
	s := &sim.Simulator{Config: admin, Kubeconfig: layout.Kubeconfig(), Nodes: nodes, Logger: slog.Default()}
	fmt.Println(s.Run(context.Background(), func() {})) // blocks until the context is done
}
