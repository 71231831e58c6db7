package images_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/images"
	"github.com/klkube/kl/embedded/tunnel"
)

// Nodes find images on their machine.
func Example() {
	var hub *tunnel.Hub // the control plane's
	finder := &images.Finder{
		OpenEngine: func(context.Context) (images.Engine, error) { return nil, cluster.ErrNoEngine }, // docker.New, for one
		Logger:     slog.Default(),
	}
	hub.Handle(finder.Handler())
	fmt.Println(finder.Run(context.Background(), func() {})) // blocks until the context is done
}
