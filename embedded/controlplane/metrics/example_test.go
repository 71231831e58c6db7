package metrics_test

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/metrics"
	"github.com/klkube/kl/embedded/controlplane/nodewatch"
	"github.com/klkube/kl/embedded/tunnel"
)

// The API server finds metrics.k8s.io while the server runs.
func Example() {
	layout := cluster.Home("/home/me/.kl").Cluster("dev")
	var hub *tunnel.Hub           // the control plane's
	var admin *rest.Config        // the administrator's, without a rate limit
	var nodes *nodewatch.Informer // the control plane's
	s := &metrics.Server{Layout: layout, Gateway: cluster.DefaultGateway, Admin: admin, Hub: hub, Nodes: nodes, Logger: slog.Default()}
	fmt.Println(s.Run(context.Background(), func() {})) // blocks until the context is done
}
