package node_test

import (
	"context"
	"log/slog"
	"os"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node"
)

// What `kl-engine node` does.
func Example() {
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	config, err := node.ReadConfig(cluster.NodeConfigFile)
	if err != nil {
		panic(err)
	}
	if err := node.Run(ctx, node.Options{Config: config, Version: "v1.0.0", Logger: log}); err != nil {
		panic(err)
	}
}
