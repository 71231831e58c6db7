package pull_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/images"
	"github.com/klkube/kl/embedded/node/layers"
	"github.com/klkube/kl/embedded/node/pull"
	"github.com/klkube/kl/embedded/tunnel"
)

// The kubelet's image service, with images of the machine.
func Example() {
	var agent *tunnel.Agent // the node's
	store, err := images.Open("/run/containerd/containerd.sock")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	shared, err := layers.Open(cluster.LayersMountDir, "dev.n1")
	if err != nil {
		fmt.Println(err)
		return
	}
	puller := &pull.Puller{Host: agent.HostTransport(), Store: store, Layers: shared, EngineDir: cluster.EngineMountDir, Logger: slog.Default()}
	server := &pull.Server{Socket: "/run/kl/images.sock", Containerd: "/run/containerd/containerd.sock", Puller: puller}
	fmt.Println(server.Run(context.Background(), func() {})) // blocks until the context is done
}
