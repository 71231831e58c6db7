package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node"
	"github.com/klkube/kl/embedded/node/containerd"
	"github.com/klkube/kl/embedded/node/images"
	"github.com/klkube/kl/embedded/node/layers"
)

// runPruneImages removes images of the node it runs in that no container uses, with --all those that were loaded, too, and
// prints a JSON list of them. It needs no control plane: it is run when a disk is full.
func runPruneImages(ctx context.Context, args []string) error {
	loaded := len(args) == 1 && args[0] == "--all"
	if len(args) > 0 && !loaded {
		return fmt.Errorf("unexpected argument %q: want --all or nothing", args[0])
	}
	store, err := images.Open(containerd.Socket)
	if err != nil {
		return err
	}
	defer store.Close()
	removed, err := store.Prune(ctx, loaded, containerd.PauseImage)
	if err != nil {
		return err
	}
	if err := pruneLayers(ctx); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(removed)
}

// pruneLayers removes layers that no node of the machine uses.
func pruneLayers(ctx context.Context) error {
	config, err := node.ReadConfig(cluster.NodeConfigFile)
	if err != nil {
		return err
	}
	store, err := layers.Open(cluster.LayersMountDir, node.LayersName(config))
	if err != nil {
		return nil //nolint:nilerr // the node shares none
	}
	_, err = store.Collect(ctx, 0, nil)
	return err
}
