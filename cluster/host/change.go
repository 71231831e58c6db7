package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	"golang.org/x/sync/errgroup"
)

// change is one modification of an existing cluster, whose lock is held.
type change struct {
	host   *Host
	layout cluster.Layout
	spec   cluster.Spec
	driver cluster.Driver
	nodes  []cluster.Node // as the driver listed them at the start
	steps  *recorder
}

// change takes the lock of a cluster that exists and runs f. command is shown to processes that wait for the lock.
func (h *Host) change(ctx context.Context, name, command string, f func(context.Context, *change) error) error {
	if err := cluster.CheckName(name); err != nil {
		return err
	}
	l, steps := h.Home.Cluster(name), newRecorder(h.Events)
	lock, err := acquire(ctx, l, command, steps)
	if err != nil {
		return err
	}
	defer release(l, lock)
	if err := checkMoved(l); err != nil {
		return err
	}
	return h.changeLocked(ctx, l, steps, f)
}

// changeLocked is change for callers that hold the lock.
func (h *Host) changeLocked(ctx context.Context, l cluster.Layout, steps *recorder, f func(context.Context, *change) error) error {
	c := &change{host: h, layout: l, steps: steps}
	var err error
	if c.spec, err = cluster.ReadSpec(l); err != nil {
		return err
	}
	if c.driver, err = h.driverFor(ctx, c.spec); err != nil {
		return err
	}
	defer c.driver.Close()
	if c.nodes, err = c.driver.List(ctx, l.Name); err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	if err := f(ctx, c); err != nil {
		steps.fail()
		return err
	}
	return nil
}

// each runs f for nodes side by side, each as a step.
func (c *change) each(ctx context.Context, nodes []cluster.Node, f func(context.Context, cluster.Node) (string, error)) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		g.Go(func() error {
			return c.steps.do(n.Name, func() (string, error) { return f(ctx, n) })
		})
	}
	return g.Wait()
}

// node finds a node by name.
func (c *change) node(name string) (cluster.Node, error) {
	for _, n := range c.nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return cluster.Node{}, &cluster.Error{Op: "find node", Node: name, Err: errors.New("cluster " + c.spec.Name + " has no such node"),
		Hint: "'kl node list' shows them"}
}

// unable says that a driver lacks a capability.
func unable(d cluster.Driver, op string, n cluster.Node) error {
	return &cluster.Error{Op: op, Node: n.Name, Err: fmt.Errorf("driver %s cannot do that", d.Name())}
}

// mark creates an empty file, which tells other processes something by existing. Nodes can write to the directory.
func mark(path string) error {
	if err := statefile.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return statefile.Replace(path, nil, 0o600)
}

// unmark removes a file made by mark; nil if it is missing.
func unmark(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
