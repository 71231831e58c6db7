package host

import (
	"context"

	"github.com/klkube/kl/cluster"
)

// StopNode turns one node off until StartNode. Kubernetes evicts its pods after its usual timeouts.
func (h *Host) StopNode(ctx context.Context, clusterName, node string) error {
	return h.nodeVerb(ctx, clusterName, node, "stopped", func(ctx context.Context, c *change, n cluster.Node) error {
		if err := mark(c.layout.NodeStoppedFile(node)); err != nil {
			return err
		}
		return stopNode(ctx, c.driver, n)
	})
}

// StartNode turns one node on again.
func (h *Host) StartNode(ctx context.Context, clusterName, node string) error {
	return h.nodeVerb(ctx, clusterName, node, "running", func(ctx context.Context, c *change, n cluster.Node) error {
		n, err := finishNodeStop(ctx, c.layout, c.driver, n)
		if err != nil {
			return err
		}
		if err := unmark(c.layout.NodeStoppedFile(node)); err != nil {
			return err
		}
		s, ok := c.driver.(cluster.Starter)
		if !ok {
			return unable(c.driver, "start node", n)
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
			return unable(c.driver, "kill node", n)
		}
		if err := mark(c.layout.NodeStoppedFile(node)); err != nil {
			return err
		}
		return s.Kill(ctx, n)
	})
}

// PartitionNode cuts one node off from the control plane and from its peers, as an unplugged network cable would; its pods
// keep running. The partition outlasts restarts of the node and ends with HealNode.
func (h *Host) PartitionNode(ctx context.Context, clusterName, node string) error {
	return h.nodeVerb(ctx, clusterName, node, "partitioned", func(_ context.Context, c *change, n cluster.Node) error {
		if n.Driver == cluster.DriverSimulated {
			return unable(c.driver, "partition node", n)
		}
		return mark(c.layout.NodePartitionFile(node))
	})
}

// HealNode ends a partition. It does nothing to a node that is not partitioned.
func (h *Host) HealNode(ctx context.Context, clusterName, node string) error {
	return h.nodeVerb(ctx, clusterName, node, "healed", func(_ context.Context, c *change, _ cluster.Node) error {
		return unmark(c.layout.NodePartitionFile(node))
	})
}

// nodeVerb runs f on one node as a step; done is the message of its success.
func (h *Host) nodeVerb(ctx context.Context, clusterName, node, done string, f func(context.Context, *change, cluster.Node) error) error {
	return h.change(ctx, clusterName, "kl node", func(ctx context.Context, c *change) error {
		n, err := c.node(node)
		if err != nil {
			return err
		}
		return c.steps.do(node, func() (string, error) { return done, f(ctx, c, n) })
	})
}
