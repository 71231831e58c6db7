package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/klkube/kl/cluster"
)

// AddNodes adds a group of real nodes to a cluster and waits for them as Up does; it returns their names.
func (h *Host) AddNodes(ctx context.Context, clusterName string, g cluster.NodeGroup, o UpOptions) ([]string, error) {
	if g.Simulated || g.Count < 1 {
		return nil, &cluster.Error{Op: "add nodes", Err: fmt.Errorf("a group of %d nodes (simulated: %t) cannot be added", g.Count, g.Simulated)}
	}
	var added []string
	_, err := h.lockedUp(ctx, cluster.Spec{Name: clusterName}, o, func(ctx context.Context, r upRequest) (*Result, error) {
		spec, err := cluster.ReadSpec(r.layout)
		if err != nil {
			return nil, err
		}
		nodes, err := h.listNodes(ctx, spec)
		if err != nil {
			return nil, fmt.Errorf("list nodes: %w", err)
		}
		for _, name := range g.Names {
			if slices.ContainsFunc(nodes, func(n cluster.Node) bool { return n.Name == name }) {
				return nil, &cluster.Error{Op: "add node", Node: name, Err: cluster.ErrNodeExists, Hint: "choose another name; 'kl node list' shows those taken"}
			}
			spec = without(spec, name) // of an add that was interrupted before it made the node
		}
		before := spec.NodeNames()
		spec.Nodes = append(slices.Clone(spec.Nodes), g)
		spec.NameNodes()
		added = slices.DeleteFunc(spec.NodeNames(), func(n string) bool { return slices.Contains(before, n) })
		r.want, r.replace = spec, true
		return h.upLocked(ctx, r)
	})
	if err != nil {
		return nil, err
	}
	return added, nil
}

// DefaultDrainTimeout is how long RemoveNode waits for a node's pods to be evicted.
const DefaultDrainTimeout = 2 * time.Minute

// RemoveOptions says how to remove a node.
type RemoveOptions struct {
	Force        bool          // do not drain: for a node that does not answer
	DrainTimeout time.Duration // 0 means DefaultDrainTimeout

	DeleteVolumes bool // although claims have their data on the node
	// Confirm asks whether to go on all the same; nil refuses.
	Confirm func(ctx context.Context, question string) bool
}

// RemoveNode drains a node, takes it out of the cluster for good, with its volumes, and deletes its Node object. A drain
// that fails or takes too long is an error, and the node stays, cordoned. A node that holds the only data of claims is
// removed if the options say so.
func (h *Host) RemoveNode(ctx context.Context, clusterName, node string, o RemoveOptions) error {
	return h.change(ctx, clusterName, "kl node remove", func(ctx context.Context, c *change) error {
		return c.removeNode(ctx, node, o)
	})
}

// removeNode is RemoveNode under the lock. Draining and the Node object are kubectl's, which knows about DaemonSets, mirror
// pods and budgets. It completes a removal that was interrupted: of a node that the backend no longer has, it removes the rest.
func (c *change) removeNode(ctx context.Context, name string, o RemoveOptions) error {
	n, err := c.node(name)
	gone := err != nil
	if gone && !slices.Contains(c.spec.NodeNames(), name) {
		return err
	}
	if !o.DeleteVolumes {
		if err := c.checkClaims(ctx, []string{name}, o.Confirm); err != nil {
			return err
		}
	}
	return c.steps.do(name, func() (string, error) {
		if !o.Force && !gone {
			timeout := cmp.Or(o.DrainTimeout, DefaultDrainTimeout)
			log, err := c.kubectl(ctx, name, "drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout="+timeout.String())
			if err != nil {
				return "", &cluster.Error{Op: "drain node", Node: name, Err: err, Log: log,
					Hint: "see what holds it up with 'kl kubectl get pods -A -o wide', or use --force"}
			}
		}
		if !gone {
			layers := newLayersOf(c.layout, name)
			layers.releaseInNodes(ctx, []driverNodes{{c.driver, []cluster.Node{n}}})
			if err := c.deleteNode(ctx, n); err != nil {
				return "", err
			}
			if err := layers.release(); err != nil {
				return "", err
			}
		}
		done, err := c.deleteObject(ctx, name)
		if ctx.Err() != nil {
			return "", errors.Join(context.Cause(ctx), err)
		}
		if failed := c.forgetNode(name); failed != nil { // last, so that a removal that is interrupted can be given again
			err = errors.Join(err, failed)
		}
		return done, err
	})
}

// deleteObject deletes the Node object, and returns what has been done then. Without a control plane that serves, the object stays: the cloud
// provider deletes it later, as that of a node without a machine.
func (c *change) deleteObject(ctx context.Context, name string) (done string, err error) {
	phase, _, err := PhaseOf(c.layout)
	if err != nil {
		return "", err
	}
	if phase == cluster.PhaseStopped || phase == cluster.PhaseCrashed {
		return "removed; its Node object goes once the API serves", nil
	}
	if log, err := c.kubectl(ctx, name, "delete", "node", name, "--ignore-not-found"); err != nil {
		return "", &cluster.Error{Op: "delete Node object", Node: name, Err: err, Log: log,
			Hint: "'kl kubectl delete node " + name + "' once the API answers"}
	}
	return "removed", nil
}

// deleteNode deletes a node from the backend.
func (c *change) deleteNode(ctx context.Context, n cluster.Node) error {
	// Else the control plane restarts it as it goes off. On a full disk it may do that in vain, until the node is gone.
	if err := mark(c.layout.NodeStoppedFile(n.Name)); err != nil && !cluster.DiskFull(err) {
		return err
	}
	if err := c.driver.Delete(ctx, n); err != nil {
		return &cluster.Error{Op: "remove node", Node: n.Name, Err: err}
	}
	return nil
}

// forgetNode removes a node from disk, and then from cluster.yaml.
func (c *change) forgetNode(name string) error {
	c.spec = without(c.spec, name)
	return errors.Join(removeNodeFiles(c.layout, name), cluster.WriteSpec(c.layout, c.spec))
}

// without returns spec without one of its nodes.
func without(spec cluster.Spec, node string) cluster.Spec {
	spec.Nodes = slices.Clone(spec.Nodes)
	spec.NameNodes()
	for i := range spec.Nodes {
		g := &spec.Nodes[i]
		if at := slices.Index(g.Names, node); at >= 0 {
			g.Names = slices.Delete(g.Names, at, at+1)
			g.Count--
		}
	}
	return spec
}
