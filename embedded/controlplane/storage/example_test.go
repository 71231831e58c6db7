package storage_test

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/storage"
	"github.com/klkube/kl/embedded/tunnel"
)

// The classes standard, shared and local-storage exist when the controller is ready.
func Example() {
	layout := cluster.Home("/home/me/.kl").Cluster("dev")
	var hub *tunnel.Hub    // the control plane's
	var admin *rest.Config // the administrator's, without a rate limit
	c := storage.New(context.Background(), storage.Options{Layout: layout, Admin: admin, Nodes: hub, Logger: slog.Default()})
	fmt.Println(c.Run(context.Background(), func() {})) // blocks until the context is done
}
