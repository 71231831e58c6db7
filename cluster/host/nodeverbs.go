package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/klkube/kl/cluster"
)

// StopNode turns one node off until StartNode; its pods move after Kubernetes' own timeouts.
func (h *Host) StopNode(ctx context.Context, clusterName, node string) error {
	return h.nodeVerb(ctx, clusterName, node, "stopped", func(ctx context.Context, c *change, n cluster.Node) error {
		if err := mark(c.layout.NodeStoppedFile(node)); err != nil {
			return err
		}
		return c.stopNode(ctx, n)
	})
}

// StartNode turns one node on again.
func (h *Host) StartNode(ctx context.Context, clusterName, node string) error {
	return h.nodeVerb(ctx, clusterName, node, "running", func(ctx context.Context, c *change, n cluster.Node) error {
		if err := unmark(c.layout.NodeStoppedFile(node)); err != nil {
			return err
		}
		s, ok := c.driver.(cluster.Starter)
		if !ok {
			return c.unable("start node", n)
		}
		if n.State != cluster.NodeStopped {
			return nil
		}
		return s.Start(ctx, n)
	})
}

// KillNode ends one node as a power failure would. It stays off until StartNode.
func (h *Host) KillNode(ctx context.Context, clusterName, node string) error {
	return h.nodeVerb(ctx, clusterName, node, "killed", func(ctx context.Context, c *change, n cluster.Node) error {
		s, ok := c.driver.(cluster.Starter)
		if !ok {
			return c.unable("kill node", n)
		}
		if err := mark(c.layout.NodeStoppedFile(node)); err != nil {
			return err
		}
		return s.Kill(ctx, n)
	})
}

// PartitionNode cuts one node from the control plane and from its peers, as a pulled cable would; its pods run on. It
// lasts, restarts of the node included, until HealNode.
func (h *Host) PartitionNode(ctx context.Context, clusterName, node string) error {
	return h.nodeVerb(ctx, clusterName, node, "partitioned", func(_ context.Context, c *change, n cluster.Node) error {
		if n.Driver == cluster.DriverSimulated {
			return c.unable("partition node", n)
		}
		return mark(c.layout.NodePartitionFile(node))
	})
}

// HealNode ends a partition; without one it does nothing.
func (h *Host) HealNode(ctx context.Context, clusterName, node string) error {
	return h.nodeVerb(ctx, clusterName, node, "healed", func(_ context.Context, c *change, _ cluster.Node) error {
		return unmark(c.layout.NodePartitionFile(node))
	})
}

// nodeVerb does one thing to one node as a step.
func (h *Host) nodeVerb(ctx context.Context, clusterName, node, done string, f func(context.Context, *change, cluster.Node) error) error {
	return h.change(ctx, clusterName, "kl node", func(ctx context.Context, c *change) error {
		n, err := c.node(node)
		if err != nil {
			return err
		}
		return c.steps.do(node, func() (string, error) { return done, f(ctx, c, n) })
	})
}

// AddNodes adds a group of real nodes to a cluster and waits for them as Up does; it returns their names.
func (h *Host) AddNodes(ctx context.Context, clusterName string, g cluster.NodeGroup, o UpOptions) ([]string, error) {
	if g.Simulated || g.Count < 1 {
		return nil, &cluster.Error{Op: "add nodes", Err: fmt.Errorf("%d nodes (simulated: %t) are not to be added here", g.Count, g.Simulated)}
	}
	spec, err := cluster.ReadSpec(h.Home.Cluster(clusterName))
	if err != nil {
		return nil, err
	}
	before := spec.NodeNames()
	for _, name := range g.Names {
		if slices.Contains(before, name) {
			return nil, &cluster.Error{Op: "add node", Node: name, Err: cluster.ErrNodeExists, Hint: "choose another name; 'kl node list' shows those taken"}
		}
	}
	spec.Nodes = append(slices.Clone(spec.Nodes), g)
	spec.NameNodes()
	o.Replace = true
	if _, err := h.Up(ctx, spec, o); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(spec.NodeNames(), func(n string) bool { return slices.Contains(before, n) }), nil
}

// RemoveNode takes a node out of the cluster for good, with its volumes. Draining it and deleting its Node object are
// the caller's, before and after: both need the API.
func (h *Host) RemoveNode(ctx context.Context, clusterName, node string) error {
	return h.change(ctx, clusterName, "kl node remove", func(ctx context.Context, c *change) error {
		n, err := c.node(node)
		if err != nil {
			return err
		}
		c.spec.NameNodes()
		for i := range c.spec.Nodes {
			g := &c.spec.Nodes[i]
			if at := slices.Index(g.Names, node); at >= 0 {
				g.Names = slices.Delete(g.Names, at, at+1)
				g.Count--
			}
		}
		return c.steps.do(node, func() (string, error) {
			if err := mark(c.layout.NodeStoppedFile(node)); err != nil { // or it is turned on again while it goes off
				return "", err
			}
			if err := c.driver.Delete(ctx, n); err != nil {
				return "", &cluster.Error{Op: "remove node", Node: node, Err: err}
			}
			// The spec last: if anything before fails, the node is still known and can be removed again.
			return "removed", errors.Join(os.RemoveAll(c.layout.NodeDir(node)), cluster.WriteSpec(c.layout, c.spec))
		})
	})
}
