package registry_test

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/registry"
	served "github.com/klkube/kl/embedded/controlplane/registry"
)

// Every cluster of a home runs a Server, and one of them listens.
func Example() {
	store := registry.Open(cluster.Home("/home/me/.kl"))
	defer store.Close()
	var admin *rest.Config // the control plane's
	s := &served.Server{Store: store, Port: cluster.DefaultRegistryPort, Admin: admin, Logger: slog.Default()}
	fmt.Println(s.Run(context.Background(), func() {})) // blocks until the context is done
}
