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
// does not exist is made as by Up. On one that exists, nodes that the Spec has no place for are drained and removed, the
// control plane restarts if it must, nodes are added, and nodes' programs, labels and taints are brought up to date. The
// first phase that fails ends Apply. The cluster's lock is held throughout. Each change is reported as an event before the first
// is made. The timeout of o also bounds the draining of each node that is removed.
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
		return h.applyLocked(ctx, r, old)
	})
}

func (h *Host) applyLocked(ctx context.Context, r upRequest, old cluster.Spec) (*Result, error) {
	changes, err := config.Plan(old, r.want)
	if err != nil {
		return nil, err
	}
	for _, c := range changes {
		r.steps.say(cluster.StepPlan, cluster.StepNote, "change "+c.String())
	}
	var gone []string
	r.want, gone = old.Names(r.want)
	r.replace = true
	restartPlane := has(changes, config.EffectControlPlane, config.EffectRestart)
	if len(gone) > 0 || restartPlane {
		err := h.changeLocked(ctx, r.layout, r.steps, func(ctx context.Context, c *change) error {
			for _, name := range gone {
				if err := c.removeNode(ctx, name, RemoveOptions{DrainTimeout: r.opts.Timeout}); err != nil {
					return err
				}
			}
			if restartPlane { // Up starts a new one over the data
				return c.stopPlane(ctx, cluster.StepStopControlPlane)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	result, err := h.upLocked(ctx, r)
	if err != nil {
		return nil, err
	}
	restartPrograms, relabel := has(changes, config.EffectNodeRestart, config.EffectRestart), has(changes, config.EffectLive)
	if !restartPrograms && !relabel {
		return result, nil
	}
	return result, h.changeLocked(ctx, r.layout, r.steps, func(ctx context.Context, c *change) error {
		if restartPrograms {
			if err := c.restartPrograms(ctx); err != nil {
				return err
			}
		}
		if relabel {
			return c.relabel(ctx, old, r.want)
		}
		return nil
	})
}

func has(changes []config.Change, effects ...config.Effect) bool {
	return slices.ContainsFunc(changes, func(c config.Change) bool { return slices.Contains(effects, c.Effect) })
}
