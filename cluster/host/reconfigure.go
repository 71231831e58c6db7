package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
)

// reconfigure restarts the control plane and the nodes' programs, if changes need it, with the configuration of r.want. The
// configuration is checked while everything runs. If the cluster does not come up with it all the same, the old one is put back:
// the error is then that of the new one, and the cluster is as before. The nodes are those of old. The result is nil if nothing
// had to restart.
func (h *Host) reconfigure(ctx context.Context, r upRequest, old cluster.Spec, changes []config.Change) (*Result, error) {
	s := &restart{
		plane:    has(changes, config.EffectControlPlane, config.EffectRestart),
		programs: has(changes, config.EffectNodeRestart, config.EffectRestart),
	}
	if !s.plane && !s.programs {
		return nil, nil
	}
	next := withSettings(old, r.want)
	err := r.steps.do(cluster.StepCheck, func() (string, error) {
		p, err := h.Payload(ctx)
		if err != nil {
			return "", err
		}
		return "", check(ctx, r.layout, next, p)
	})
	if err != nil {
		return nil, &cluster.Error{Op: "change cluster " + old.Name, Err: err, Hint: "nothing has changed"}
	}
	r.want = next
	r.tries = !isHindered(ctx, r.layout) // what hinders the cluster already is not the configuration's fault
	result, err := h.restart(ctx, r, s)
	if err == nil {
		result.Running = false
	}
	if err == nil || r.opts.Retain {
		return result, err
	}
	r.want, r.tries = old, false
	return nil, h.rollBack(context.WithoutCancel(ctx), r, s, err)
}

// withSettings returns the cluster have with all settings of want that a cluster can change. The caller has checked the changes;
// identity, addresses and nodes stay.
func withSettings(have, want cluster.Spec) cluster.Spec {
	next := want
	next.APIVersion, next.Kind, next.Name, next.Driver = have.APIVersion, have.Kind, have.Name, have.Driver
	next.Nodes, next.Networking = have.Nodes, have.Networking
	next.Encryption = have.Encryption // changes while the API server runs
	next.Kubernetes.APIServerPort = have.Kubernetes.APIServerPort
	return next
}

// restart is what runs with an old configuration.
type restart struct {
	plane, programs bool
	begun           bool // nodes' programs may run with the new one
}

// restart brings the cluster up with r.want in place of what runs.
func (h *Host) restart(ctx context.Context, r upRequest, s *restart) (*Result, error) {
	if s.plane {
		err := h.changeLocked(ctx, r.layout, r.steps, func(ctx context.Context, c *change) error {
			// Up starts a new one over the data. A stop that has begun is completed even if ctx ends: whoever came next could take a
			// control plane that is about to end for one that runs.
			return c.stopPlane(context.WithoutCancel(ctx), cluster.StepStopControlPlane)
		})
		if err != nil {
			return nil, err
		}
	}
	result, err := h.upLocked(ctx, r)
	if err != nil || !s.programs {
		return result, err
	}
	ctx, cancel := r.opts.limit(ctx)
	defer cancel()
	s.begun = true
	return result, h.changeLocked(ctx, r.layout, r.steps, func(ctx context.Context, c *change) error { return c.restartPrograms(ctx) })
}

// rollBack brings the cluster up again with its old configuration, r.want, after a change has failed with an error.
func (h *Host) rollBack(ctx context.Context, r upRequest, s *restart, failure error) error {
	outer := &cluster.Error{Op: "change cluster " + r.want.Name, Err: failure, Hint: "the cluster has its old configuration and runs"}
	if e := (*cluster.Error)(nil); errors.As(failure, &e) {
		outer.Log = e.Log
	}
	quiet := r
	quiet.steps, quiet.opts.Restart = newRecorder(nil), ""
	err := r.steps.do(cluster.StepRollback, func() (string, error) {
		_, err := h.restart(ctx, quiet, &restart{plane: s.plane, programs: s.begun})
		return "", err
	})
	if err != nil {
		outer.Hint = fmt.Sprintf("its old configuration is back, but it does not run with that either: %v; try 'kl up --name %s'", err, r.want.Name)
	}
	return outer
}
