package host

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
)

// Apply makes a cluster be what a Spec says, as [config.Parse] returns it, and returns when it is ready. A cluster that
// does not exist is made as by Up. On one that exists, control plane and nodes' programs restart if they must; then nodes that
// the Spec has no place for are drained and removed, nodes are added, and labels and taints brought up to date. A configuration
// that the cluster does not come up with is undone, before any node is removed. The first phase that fails ends Apply. The
// cluster's lock is held throughout. Each change is reported as an event before the first is made. The timeout of o also
// bounds the draining of each node that is removed.
//
// The error is a [config.Problems], and nothing has changed, if the Spec needs a new cluster.
func (h *Host) Apply(ctx context.Context, want cluster.Spec, o UpOptions) (*Result, error) {
	return h.lockedUp(ctx, want, o, func(ctx context.Context, r upRequest) (*Result, error) {
		old, err := cluster.ReadSpec(r.layout)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return h.upLocked(ctx, r)
		case err != nil:
			return nil, err
		}
		result, err := h.applyLocked(ctx, r, old)
		if e := want.Encryption; err == nil && (e.Provider != "" || len(e.Resources) > 0) {
			err = h.applyEncryption(ctx, r.layout, r.steps, e)
		}
		return result, err
	})
}

func (h *Host) applyLocked(ctx context.Context, r upRequest, old cluster.Spec) (*Result, error) {
	have := old // in the order of want
	have.Nodes = config.Align(old.Nodes, r.want.Nodes)
	changes, err := config.Plan(have, r.want)
	if err != nil {
		return nil, err
	}
	if clashes := config.PortClashes(r.want, old.Kubernetes.APIServerPort); len(clashes) > 0 {
		return nil, clashes
	}
	for _, c := range changes {
		r.steps.say(cluster.StepPlan, cluster.StepNote, "change "+c.String())
	}
	var gone []string
	r.want, gone = have.Names(r.want)
	r.replace = true
	if len(gone) > 0 && !r.opts.DeleteVolumes {
		err := h.changeLocked(ctx, r.layout, r.steps, func(ctx context.Context, c *change) error { return c.checkClaims(ctx, gone, nil) })
		if err != nil {
			return nil, err
		}
	}
	result, err := h.reconfigure(ctx, r, old, changes)
	if err != nil || result != nil && !has(changes, config.EffectNodes, config.EffectLive) {
		return result, err
	}
	restarted := result != nil
	if len(gone) > 0 {
		err := h.changeLocked(ctx, r.layout, r.steps, func(ctx context.Context, c *change) error {
			for _, name := range gone {
				if err := c.removeNode(ctx, name, RemoveOptions{DrainTimeout: r.opts.Timeout, DeleteVolumes: true}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if result, err = h.upLocked(ctx, r); err != nil {
		return nil, err
	}
	result.Running = result.Running && !restarted
	if !has(changes, config.EffectLive) {
		return result, nil
	}
	return result, h.changeLocked(ctx, r.layout, r.steps, func(ctx context.Context, c *change) error { return c.relabel(ctx, have, r.want) })
}

func has(changes []config.Change, effects ...config.Effect) bool {
	return slices.ContainsFunc(changes, func(c config.Change) bool { return slices.Contains(effects, c.Effect) })
}
