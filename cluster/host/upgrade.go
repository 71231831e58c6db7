package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	"k8s.io/apimachinery/pkg/util/version"
)

// An upgrade is an up with a kl that brings a newer version of Kubernetes. What the cluster passes on to Kubernetes' components
// is judged first, while everything runs. Then the control plane is stopped and started anew over its data, and beside it each
// node is stopped, made of the new payload, and started: a kubelet is never newer than the API server. An upgrade that is
// interrupted goes on with the next up, which finds the nodes that are left by their payload.

// findVersion finds out of which version the cluster is, and refuses one whose minor version is newer than this kl's: neither
// etcd nor Kubernetes read what a newer one has written.
func (u *upRun) findVersion(ctx context.Context, pid int, have []cluster.Node) error {
	if u.fresh || u.host.Kubernetes == "" {
		return nil
	}
	from, err := u.lastVersion(ctx, pid, have)
	if err != nil {
		return err
	}
	u.from = from
	theirs, err := version.ParseSemantic(from)
	if err != nil { // unknown
		return nil //nolint:nilerr // a cluster of a kl that did not write it down, and that has no nodes
	}
	ours, err := version.ParseSemantic(u.host.Kubernetes)
	if err != nil {
		return fmt.Errorf("read this program's version of Kubernetes: %w", err)
	}
	if theirs.Major() > ours.Major() || theirs.Major() == ours.Major() && theirs.Minor() > ours.Minor() {
		return &cluster.Error{
			Op:   "start cluster " + u.spec.Name,
			Err:  fmt.Errorf("its data is of Kubernetes %s, which this kl with %s cannot read", from, u.host.Kubernetes),
			Hint: "use the kl that started the cluster last, or a newer one",
		}
	}
	return nil
}

// versionTimeout is how long a control plane may take to say its version: it may hang, which is no reason not to go on.
const versionTimeout = 5 * time.Second

// lastVersion returns the version of the control plane that was started last. A kl that did not write that down, before 1.37,
// leaves only what runs, or what nodes are made of. Empty means unknown.
func (u *upRun) lastVersion(ctx context.Context, pid int, have []cluster.Node) (string, error) {
	data, err := statefile.Read(u.layout.KubernetesFile())
	text := strings.TrimSpace(string(data))
	if err == nil {
		if _, err = version.ParseSemantic(text); err == nil {
			return text, nil
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", &cluster.Error{
			Op: "read " + u.layout.KubernetesFile(), Err: fmt.Errorf("%q is no version: %w", text, err),
			Hint: "write the version of Kubernetes that the cluster was last started with to that file, such as " + u.host.Kubernetes,
		}
	}
	if pid != 0 && !frozen(pid) {
		client := cluster.NewClient(u.layout)
		defer client.Close()
		ctx, cancel := context.WithTimeout(ctx, versionTimeout)
		defer cancel()
		if s, err := client.Status(ctx); err == nil {
			return s.Kubernetes, nil
		}
	}
	newest := ""
	for _, n := range have {
		if v := u.versionOf(n); v != "" && (newest == "" || olderVersion(newest, v)) {
			newest = v
		}
	}
	return newest, nil
}

// versionOf returns the version of Kubernetes that a node is made of; empty if its payload is gone. A node of the embedded driver
// cannot start then, and one of Docker's stays as it is.
func (u *upRun) versionOf(n cluster.Node) string {
	if u.host.KubernetesOf == nil || n.PayloadSHA == "" {
		return ""
	}
	v, err := u.host.KubernetesOf(n.PayloadSHA)
	if err != nil {
		return ""
	}
	return v
}

// olderVersion reports whether a is an older version than b. What is no version is not.
func olderVersion(a, b string) bool {
	va, erra := version.ParseSemantic(a)
	vb, errb := version.ParseSemantic(b)
	return erra == nil && errb == nil && va.LessThan(vb)
}

// upgraded returns the version that this run upgrades the cluster from; empty if it does not.
func (u *upRun) upgraded() string {
	if olderVersion(u.from, u.host.Kubernetes) {
		return u.from
	}
	return ""
}

// upgradePlane stops a control plane of an older version, so that start starts a new one over its data, and writes down which
// version the data is of from now on. It returns the process of the control plane that runs on; 0 for none.
func (u *upRun) upgradePlane(ctx context.Context, pid int) (int, error) {
	if u.host.Kubernetes == "" || u.from == u.host.Kubernetes {
		return pid, nil
	}
	upgrades := u.upgraded() != ""
	if (upgrades || pid == 0) && !u.fresh && passesOn(u.spec) {
		if err := u.checkUpgrade(ctx); err != nil {
			return pid, err
		}
	}
	if upgrades {
		u.steps.say(cluster.StepControlPlane, cluster.StepNote, fmt.Sprintf("Kubernetes %s → %s", u.from, u.host.Kubernetes))
	}
	if upgrades && pid != 0 {
		err := u.steps.do(cluster.StepStopControlPlane, func() (string, error) { return "stopped", stopControlPlane(ctx, u.layout) })
		if err != nil {
			return pid, err
		}
		pid = 0
	}
	if pid != 0 {
		return pid, nil
	}
	if err := statefile.Write(u.layout.KubernetesFile(), []byte(u.host.Kubernetes+"\n"), 0o600); err != nil {
		return pid, &cluster.Error{Op: "save cluster " + u.spec.Name, Err: err}
	}
	return pid, nil
}

// checkUpgrade has the newer components judge what the cluster passes on to them: flags and feature gates go with time.
func (u *upRun) checkUpgrade(ctx context.Context) error {
	err := u.check(ctx)
	if err == nil {
		return nil
	}
	return &cluster.Error{
		Op:  fmt.Sprintf("upgrade cluster %s from Kubernetes %s to %s", u.spec.Name, cmp.Or(u.from, "of an older kl"), u.host.Kubernetes),
		Err: err, Hint: "nothing has changed: correct kl.yaml and use 'kl up -f'",
	}
}

// outdated reports whether a node is made of an older Kubernetes than this kl brings.
func (u *upRun) outdated(n cluster.Node) bool {
	_, can := u.driver.(cluster.Upgrader)
	return can && n.State != cluster.NodeDamaged && n.PayloadSHA != u.payload.SHA && olderVersion(u.versionOf(n), u.host.Kubernetes)
}

// upgradeNode makes a node of this kl's payload, and leaves it stopped.
func (u *upRun) upgradeNode(ctx context.Context, n cluster.Node) (cluster.Node, error) {
	u.steps.start(n.Name)
	u.mu.Lock()
	u.changed = true
	u.mu.Unlock()
	if err := stopNode(ctx, u.driver, n); err != nil {
		return n, err
	}
	d, _ := u.driver.(cluster.Upgrader) // see outdated
	upgraded, err := d.Upgrade(ctx, n, u.payload)
	if err != nil {
		return n, &cluster.Error{Op: "upgrade node", Node: n.Name, Err: err, Hint: fmt.Sprintf("'kl up --name %s' tries again", n.Cluster)}
	}
	u.steps.say(n.Name, cluster.StepRunning, "upgraded")
	return upgraded, nil
}
