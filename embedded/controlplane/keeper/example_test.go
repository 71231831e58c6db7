package keeper_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/keeper"
	"github.com/klkube/kl/embedded/tunnel"
)

// Nodes that stop by themselves are restarted.
func Example() {
	layout := cluster.Home("/home/me/.kl").Cluster("dev")
	var hub *tunnel.Hub                                                       // the control plane's
	open := func(context.Context) (cluster.Driver, error) { return nil, nil } // docker.New, for one
	k := &keeper.Keeper{Layout: layout, Open: open, Connected: hub.Watch, Logger: slog.Default()}
	fmt.Println(k.Run(context.Background(), func() {})) // blocks until the context is done
}
