package storage_test

import (
	"context"
	"fmt"

	"github.com/klkube/kl/embedded/node/storage"
	"github.com/klkube/kl/embedded/tunnel"
)

// The control plane creates a volume on a node and deletes it.
func Example() {
	ctx := context.Background()
	hub := &tunnel.Hub{}
	agent := storage.Agent{Node: "n1", Transport: hub.AgentTransport("n1")}
	volume, err := agent.Put(ctx, storage.Volume{Kind: storage.NodeLocal, ID: "pvc-1234", Size: 1 << 30})
	if err != nil {
		panic(err)
	}
	fmt.Println(volume.Size, volume.Limit)
	if err := agent.Delete(ctx, volume.Kind, volume.ID); err != nil {
		panic(err)
	}
}
