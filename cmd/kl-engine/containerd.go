package main

import (
	"context"
	"fmt"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node"
	"github.com/klkube/kl/embedded/node/boot"
	"github.com/klkube/kl/embedded/node/containerd"
)

// runContainerd is the containerd role. Without arguments it is the daemon of the node; with arguments it is the upstream
// command, which shims run to publish events. It handles signals itself.
func runContainerd(ctx context.Context, args []string) error {
	if len(args) > 0 {
		return containerd.Run(ctx, args)
	}
	config, err := node.ReadConfig(cluster.NodeConfigFile)
	if err != nil {
		return err
	}
	facts, err := boot.ReadFacts(boot.FactsFile)
	if err != nil {
		return fmt.Errorf("read facts: %w", err)
	}
	if err := containerd.WriteConfig("/", facts, config); err != nil {
		return fmt.Errorf("write containerd configuration: %w", err)
	}
	return containerd.Run(ctx, []string{"--config", containerd.ConfigFile, "--log-level", "warn"})
}
