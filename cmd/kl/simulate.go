package main

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/sim"
)

// simulate creates or removes simulated nodes until there are as many as s asks for. All groups are numbered in one
// sequence, and a node keeps the shape it was created with.
func simulate(ctx context.Context, l cluster.Layout, s cluster.Spec, progress func(done, of int)) error {
	config, err := clientcmd.BuildConfigFromFlags("", l.Kubeconfig())
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	d := sim.New(sim.Options{
		Connect:  func(context.Context, string) (kubernetes.Interface, error) { return api, nil },
		Clusters: func(context.Context) ([]string, error) { return []string{l.Name}, nil },
	})
	var shapes []sim.Shape
	for _, g := range s.Nodes {
		if !g.Simulated {
			continue
		}
		shape := sim.Shape{Labels: g.Labels, MilliCPUs: quantityOf(g.CPUs, resource.Milli), MemoryBytes: quantityOf(g.Memory, 0)}
		for range g.Count {
			shapes = append(shapes, shape)
		}
	}
	return d.Scale(ctx, l.Name, len(shapes), func(i int) sim.Shape { return shapes[i-1] }, progress)
}

// quantityOf returns a valid quantity in units of 10^scale; empty is 0.
func quantityOf(s string, scale resource.Scale) int64 {
	q, err := resource.ParseQuantity(s)
	if err != nil {
		return 0
	}
	return q.ScaledValue(scale)
}
