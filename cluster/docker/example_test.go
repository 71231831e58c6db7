package docker_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/docker"
)

func ExampleNew() {
	ctx := context.Background()
	d, err := docker.New(ctx, docker.Options{Home: "/root/.kl"})
	if errors.Is(err, cluster.ErrNoEngine) {
		fmt.Println("no Docker engine answers")
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	nodes, err := d.List(ctx, "") // of all clusters
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range nodes {
		fmt.Println(n.Cluster, n.Name, n.IP, n.State)
	}
}
