package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node"
)

// runNode is the node role: kubelet, kube-proxy and agent of the node it runs in, without arguments.
func runNode(ctx context.Context, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("start node: unexpected argument %q", args[0])
	}
	config, err := node.ReadConfig(cluster.NodeConfigFile)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return node.Run(ctx, node.Options{Config: config, Version: version, Logger: log})
}
