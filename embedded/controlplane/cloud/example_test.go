package cloud_test

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/cloud"
	"github.com/klkube/kl/embedded/controlplane/nodewatch"
	"github.com/klkube/kl/embedded/tunnel"
)

// Nodes are initialized and Services get addresses while the controller runs.
func Example() {
	layout := cluster.Home("/home/me/.kl").Cluster("dev")
	var hub *tunnel.Hub           // the control plane's
	var admin *rest.Config        // the administrator's, without a rate limit
	var nodes *nodewatch.Informer // the control plane's
	c := &cloud.Controller{Layout: layout, Spec: cluster.DefaultSpec(), Admin: admin, Hub: hub, Nodes: nodes, Logger: slog.Default()}
	fmt.Println(c.Run(context.Background(), func() {})) // blocks until the context is done
}
