package forward_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/forward"
	"github.com/klkube/kl/embedded/tunnel"
)

// The ports in cluster.yaml are published, whatever they are at the time.
func Example() {
	layout := cluster.Home("/home/me/.kl").Cluster("dev")
	var hub *tunnel.Hub // the control plane's
	dialer := &forward.NodeDialer{
		DialNode: hub.DialNode,
		Address:  func(context.Context, string) (string, error) { return "172.18.0.2", nil }, // of the Node
	}
	f := &forward.Forwarder{Layout: layout, Dial: dialer.Dial, Logger: slog.Default()}
	fmt.Println(f.Run(context.Background(), func() {})) // blocks until the context is done
}
