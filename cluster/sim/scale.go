package sim

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/klkube/kl/cluster"
)

func nodeName(i int) string { return fmt.Sprintf("sim-%d", i) }

// parallel is how many requests Scale makes at a time: enough to keep an API server busy, few enough not to overload it.
const parallel = 16

// Shape is the size and the labels of a node. Zero values mean 32 CPUs and 256 GiB.
type Shape struct {
	MilliCPUs   int64
	MemoryBytes int64
	Labels      map[string]string
}

// Scale creates or deletes nodes until want of them exist: sim-1, sim-2 and so on; the highest numbers are deleted first. shape
// returns the shape of node i, counted from 1; existing nodes keep theirs. progress is called after every node with the number
// of nodes done and the number to do, from several goroutines; nil is ignored. After an error some nodes may be done; calling
// Scale again does the rest.
func (d *Driver) Scale(ctx context.Context, name string, want int, shape func(i int) Shape, progress func(done, of int)) error {
	if want < 0 {
		return fmt.Errorf("scale simulated nodes: %d is negative", want)
	}
	have, err := d.List(ctx, name)
	if err != nil {
		return err
	}
	exists := make(map[string]bool, len(have))
	for _, n := range have {
		exists[n.Name] = true
	}
	var jobs []func(context.Context) error
	for i := 1; i <= want; i++ {
		if spec := shape(i).spec(name, i); !exists[spec.Name] {
			jobs = append(jobs, func(ctx context.Context) error {
				_, err := d.Create(ctx, spec)
				return err
			})
		}
		delete(exists, nodeName(i))
	}
	for i := len(have) - 1; i >= 0; i-- {
		if n := have[i]; exists[n.Name] {
			jobs = append(jobs, func(ctx context.Context) error { return d.Delete(ctx, n) })
		}
	}
	return run(ctx, jobs, progress)
}

func run(ctx context.Context, jobs []func(context.Context) error, progress func(done, of int)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	var done atomic.Int64
	for _, job := range jobs {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := job(ctx); err != nil {
				return err
			}
			if n := done.Add(1); progress != nil {
				progress(int(n), len(jobs))
			}
			return nil
		})
	}
	return g.Wait()
}

func (s Shape) spec(name string, i int) cluster.NodeSpec {
	return cluster.NodeSpec{
		Cluster: name, Name: nodeName(i),
		MilliCPUs: s.MilliCPUs, MemoryBytes: s.MemoryBytes, Labels: s.Labels,
	}
}
