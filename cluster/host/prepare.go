package host

import (
	"context"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/kubeconfig"
	"github.com/klkube/kl/cluster/pki"

	"golang.org/x/sync/errgroup"
)

// prepareAll writes down what was decided and makes what the control plane and nodes need. It returns the process of the control plane
// that runs on: 0 if none ran, or if it was stopped to be upgraded.
func (u *upRun) prepareAll(ctx context.Context, pid int, have []cluster.Node) (int, error) {
	if err := u.findVersion(ctx, pid, have); err != nil {
		return pid, err
	}
	if err := u.writeState(pid != 0); err != nil {
		return pid, err
	}
	if err := u.switchCertificates(ctx, pid != 0); err != nil {
		return pid, err
	}
	if err := u.prepare(ctx); err != nil {
		return pid, err
	}
	return u.upgradePlane(ctx, pid)
}

// check has the components judge what the cluster passes on to them.
func (u *upRun) check(ctx context.Context) error {
	return u.steps.within(ctx, cluster.StepCheck, func() (string, error) { return "", check(ctx, u.layout, u.spec, u.payload) })
}

// prepare makes, side by side, what both the control plane and the nodes need.
func (u *upRun) prepare(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return u.steps.within(ctx, cluster.StepCertificates, func() (string, error) {
			if err := pki.Ensure(u.layout, u.spec.Networking, time.Now()); err != nil {
				return "", err
			}
			if err := ensureEncryption(u.layout, u.spec.Encryption); err != nil {
				return "", err
			}
			return "", kubeconfig.Write(u.layout, u.spec.Kubernetes.APIServerPort)
		})
	})
	g.Go(func() error {
		return u.steps.within(ctx, cluster.StepPayload, func() (string, error) {
			p, err := u.host.Payload(ctx)
			u.payload = p
			return "", err
		})
	})
	return g.Wait()
}
