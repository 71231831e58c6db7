package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/kubeconfig"
	"github.com/klkube/kl/cluster/pki"

	"k8s.io/apimachinery/pkg/util/wait"
)

// RotateOptions says how to rotate a cluster's certificates.
type RotateOptions struct {
	Kind cluster.RotationKind
	// Force retires old authorities although something may still rely on them.
	Force bool
}

// RotateCertificates replaces certificates of a running cluster, see [cluster.RotationKind], or finishes a rotation of that kind that was
// interrupted. The control plane restarts; nodes and pods run on, but for nodes that are off, which start. The steps are:
//
//  1. a whole new PKI is made beside the one in use;
//  2. the control plane stops, the new PKI takes the place of the other, and the control plane starts: [pki.Switch];
//  3. namespaces and extension API servers learn the authorities;
//  4. the nodes' programs restart, by which kubelets renew their certificates;
//  5. kubeconfigs get the new certificate.
//
// It may end anywhere: kl up and kl start do step 2 if that is due, and the same command does what is left. What trusts the old authority
// alone accepts the new certificates, too, until the old one is retired.
func (h *Host) RotateCertificates(ctx context.Context, name string, o RotateOptions) error {
	if err := cluster.CheckName(name); err != nil {
		return err
	}
	l, steps := h.Home.Cluster(name), newRecorder(h.Events)
	if _, err := cluster.ReadSpec(l); err != nil { // before the lock, which would make files
		return err
	}
	lock, err := acquire(ctx, l, "kl certs rotate", steps)
	if err != nil {
		return err
	}
	defer release(l, lock)
	if err := checkMoved(l); err != nil {
		return err
	}
	if err := h.rotateLocked(ctx, l, steps, o); err != nil {
		steps.fail()
		return err
	}
	return nil
}

func (h *Host) rotateLocked(ctx context.Context, l cluster.Layout, steps *recorder, o RotateOptions) error {
	if err := pki.Recover(l); err != nil {
		return err
	}
	last, err := RotationOf(l)
	if err != nil {
		return err
	}
	var begun cluster.RotationKind // and interrupted
	if last.Unfinished {
		begun = last.Kind
	}
	if begun != "" && begun != o.Kind {
		return &cluster.Error{
			Op: "rotate certificates of cluster " + l.Name, Err: errors.New("another rotation was interrupted"),
			Hint: begun.Command(l.Name) + " finishes it",
		}
	}
	if phase, _, err := PhaseOf(l); err != nil || begun == "" || phase == cluster.PhasePaused { // one that was interrupted may have left it off
		if err := errors.Join(err, Serving(l)); err != nil {
			return err
		}
	}
	if begun == "" {
		if o.Kind == cluster.RetireAuthorities && last.Replaced.IsZero() {
			return nil // it is done
		}
		err := h.changeLocked(ctx, l, steps, func(ctx context.Context, c *change) error {
			r := newRotation(c)
			defer r.client.Close()
			return r.prepare(ctx, o)
		})
		if err != nil {
			return err
		}
	}
	pending, err := pki.Pending(l)
	if err != nil {
		return err
	}
	up := upRequest{want: cluster.Spec{Name: l.Name}, opts: UpOptions{Timeout: DefaultTimeout}, layout: l, steps: steps}
	if _, err := h.restart(ctx, up, &restart{plane: pending.Kind != ""}); err != nil { // also starts what was left off
		return errors.Join(err, h.startAgain(ctx, up))
	}
	return h.changeLocked(ctx, l, steps, func(ctx context.Context, c *change) error {
		r := newRotation(c)
		defer r.client.Close()
		return r.finish(ctx)
	})
}

// startAgain starts a control plane that a rotation has stopped when it was interrupted by Ctrl-C.
func (h *Host) startAgain(ctx context.Context, up upRequest) error {
	if ctx.Err() == nil {
		return nil
	}
	quiet := up
	quiet.steps = newRecorder(nil)
	return up.steps.do(cluster.StepStartAgain, func() (string, error) {
		_, err := h.upLocked(context.WithoutCancel(ctx), quiet)
		return "", err
	})
}

// RotationOf returns the last rotation of a cluster's certificates; one that waits for the control plane's next start is the last.
func RotationOf(l cluster.Layout) (cluster.Rotation, error) {
	pending, err := pki.Pending(l)
	if err != nil || pending.Kind != "" {
		return pending, err
	}
	return cluster.ReadRotation(l)
}

// switchCertificates puts a new PKI in place, if one was prepared, before the control plane starts.
func (u *upRun) switchCertificates(ctx context.Context, running bool) error {
	if running {
		return nil
	}
	pending, err := pki.Pending(u.layout)
	if err != nil || pending.Kind == "" {
		return err
	}
	if err := stopControlPlane(ctx, u.layout); err != nil { // its supervisor may be about to start it again
		return err
	}
	return pki.Switch(u.layout, time.Now())
}

// rotation is one rotation of certificates.
type rotation struct {
	*change
	client *cluster.Client
}

func newRotation(c *change) *rotation { return &rotation{c, cluster.NewClient(c.layout)} }

// prepare checks that the rotation can be done, and makes the new PKI.
func (r *rotation) prepare(ctx context.Context, o RotateOptions) error {
	have, err := cluster.ReadRotation(r.layout)
	if err != nil {
		return err
	}
	if err := r.checkNodes(ctx, o); err != nil {
		return err
	}
	switch {
	case o.Kind == cluster.RotateAuthorities && !have.Replaced.IsZero():
		return &cluster.Error{
			Op: "rotate authorities of cluster " + r.layout.Name, Err: errors.New("older ones are still trusted"),
			Hint: cluster.RetireAuthorities.Command(r.layout.Name) + " ends that; then there can be new ones",
		}
	case o.Kind == cluster.RetireAuthorities:
		if err := r.retirable(ctx, have, o.Force); err != nil {
			return err
		}
	}
	return r.steps.do(cluster.StepNewCerts, func() (string, error) {
		return "", pki.Prepare(r.layout, r.spec.Networking, o.Kind, time.Now())
	})
}

// checkNodes returns an error if a node that runs cannot take part: the rotation would have to wait for it.
func (r *rotation) checkNodes(ctx context.Context, o RotateOptions) error {
	if o.Kind == cluster.RetireAuthorities && o.Force {
		return nil
	}
	for _, n := range r.nodes {
		hint := fmt.Sprintf("mend or remove the node first: 'kl node list --name %s'", r.layout.Name)
		if n.State != cluster.NodeRunning && n.State != cluster.NodeStopped {
			return &cluster.Error{Op: "rotate certificates", Node: n.Name, Err: fmt.Errorf("it is %s", strings.ToLower(string(n.State))), Hint: hint}
		}
		if n.State == cluster.NodeStopped {
			continue
		}
		list, err := r.client.Certificates(ctx, n.Name)
		if err == nil && slices.ContainsFunc(list, func(c cluster.Certificate) bool { return c.Written.IsZero() }) {
			err, hint = errors.New("it runs programs of an older kl"), fmt.Sprintf("restart the cluster first: 'kl stop --name %s', then 'kl start --name %s'", r.layout.Name, r.layout.Name)
		}
		if err != nil {
			return &cluster.Error{Op: "rotate certificates", Node: n.Name, Err: err, Hint: hint}
		}
	}
	return nil
}

// finish has everything use what the control plane uses by now. All of it may have been done before.
func (r *rotation) finish(ctx context.Context) error {
	done, err := cluster.ReadRotation(r.layout)
	if err != nil {
		return err
	}
	if done.Kind != cluster.RotateLeaves {
		if err := r.spreadTrust(ctx, done); err != nil { // before programs restart: then kubelets hand it to all pods
			return err
		}
	}
	if err := r.restartPrograms(ctx); err != nil {
		return err
	}
	if done.Kind == cluster.RotateAuthorities {
		if err := pki.Publish(r.layout, time.Now()); err != nil {
			return err
		}
		if err := r.restartDNS(ctx, time.Now()); err != nil {
			return err
		}
	}
	if len(r.nodes) > 0 {
		if err := r.steps.do(cluster.StepKubelets, func() (string, error) { return r.awaitKubelets(ctx, done) }); err != nil {
			return err
		}
	}
	err = r.steps.do(cluster.StepKubeconfigs, func() (string, error) {
		changed, left := kubeconfig.Refresh(ctx, r.layout, r.spec.Kubernetes.APIServerPort)
		for _, err := range left {
			r.steps.say(cluster.StepKubeconfigs, cluster.StepWarning, err.Error()+"; entries of cluster "+r.layout.Name+" in that file are out of date")
		}
		return fmt.Sprintf("%d more brought up to date", changed), ctx.Err()
	})
	if err != nil {
		return err
	}
	return pki.Finish(r.layout)
}

// kubeletsTimeout is how long kubelets may take to renew their certificates, once their programs have been restarted.
const kubeletsTimeout = 2 * time.Minute

// awaitKubelets returns when the kubelet of each node has new certificates, and says how many have.
func (r *rotation) awaitKubelets(ctx context.Context, done cluster.Rotation) (string, error) {
	var waiting []outdatedKubelet
	err := wait.PollUntilContextTimeout(ctx, pollInterval, kubeletsTimeout, true, func(ctx context.Context) (bool, error) {
		var err error
		waiting, err = r.outdated(ctx, done)
		return len(waiting) == 0, err
	})
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case wait.Interrupted(err):
		first := waiting[0]
		return "", &cluster.Error{
			Op: "wait for new certificates of the kubelet", Node: first.node, Err: errors.New(first.why),
			Hint: fmt.Sprintf("see 'kl logs --name %s %s'; give the command again to go on", r.layout.Name, first.node),
		}
	}
	return "renewed", err
}

// outdatedKubelet is a node whose kubelet does not have the certificates of a rotation, and the reason.
type outdatedKubelet struct{ node, why string }

// outdated lists the nodes whose kubelets do not have the certificates of a rotation, with the reason. Nodes that are off renew theirs when
// they start.
func (r *rotation) outdated(ctx context.Context, done cluster.Rotation) ([]outdatedKubelet, error) {
	all, err := cluster.ReadCertificates(r.layout)
	if err != nil {
		return nil, err
	}
	ca := all[slices.IndexFunc(all, func(c cluster.Certificate) bool { return c.Name == "ca" })]
	wanted := []string{"kubelet-client", "kubelet-server"}
	if r.spec.Kubernetes.KubeletPatch["serverTLSBootstrap"] == false {
		wanted = wanted[:1]
	}
	var waiting []outdatedKubelet
	for _, n := range r.nodes {
		if n.State != cluster.NodeRunning {
			continue
		}
		list, err := r.client.Certificates(ctx, n.Name)
		if err != nil {
			waiting = append(waiting, outdatedKubelet{n.Name, err.Error()})
			continue
		}
		for _, name := range wanted {
			at := slices.IndexFunc(list, func(c cluster.Certificate) bool { return c.Name == name })
			if at < 0 || done.Outdated(list[at], ca) {
				waiting = append(waiting, outdatedKubelet{n.Name, "certificate " + name + " is not there yet"})
				break
			}
		}
	}
	return waiting, nil
}
