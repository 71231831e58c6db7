package clustertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
)

// Fake is a driver whose nodes exist only in memory. It keeps the promises of [cluster.Driver] and of all optional
// interfaces: names clash, addresses are unique and stay, files on /var survive Stop and Kill, a Create that fails leaves
// nothing behind. Only what takes a kernel is missing: limits and published ports have no effect. Make one with [NewFake],
// and set its fields before using it.
type Fake struct {
	// DriverName is what Name returns: docker unless changed.
	DriverName cluster.DriverName
	// Hook, if set, runs before an operation takes effect and may block until ctx ends; an error makes the operation
	// fail. op is prepare, create, delete, start, stop, kill, pause, resume, upgrade, exec, delete-cluster or purge.
	Hook func(ctx context.Context, op string, n cluster.Node) error
	// Changed, if set, runs after an operation has taken effect: a test may do there what a real node would do.
	Changed func(op string, n cluster.Node)
	// Commands are programs that Exec finds in a node, by the name in Cmd[0], before the built-in ones.
	Commands map[string]func(ctx context.Context, n cluster.Node, cmd cluster.ExecSpec) int
	// Clock returns the current time, at which a node is created.
	Clock func() time.Time

	machine *machine
}

var (
	_ cluster.Driver       = (*Fake)(nil)
	_ cluster.Starter      = (*Fake)(nil)
	_ cluster.Pauser       = (*Fake)(nil)
	_ cluster.Upgrader     = (*Fake)(nil)
	_ cluster.Execer       = (*Fake)(nil)
	_ cluster.Cleaner      = (*Fake)(nil)
	_ cluster.Preparer     = (*Fake)(nil)
	_ cluster.Purger       = (*Fake)(nil)
	_ cluster.ImageWatcher = (*Fake)(nil)
	_ cluster.Rehomer      = (*Fake)(nil)
)

// NewFake returns a Fake on an empty machine.
func NewFake() *Fake {
	return &Fake{DriverName: cluster.DriverDocker, Clock: time.Now, machine: new(backend).machine("")}
}

// Connect returns another Fake on the same machine, as another process would see it.
func (f *Fake) Connect() *Fake {
	return &Fake{DriverName: f.DriverName, Clock: f.Clock, machine: f.machine}
}

// As returns a Fake on the same backend for another owner: neither sees what the other has.
func (f *Fake) As(owner string) *Fake {
	return &Fake{DriverName: f.DriverName, Clock: f.Clock, machine: f.machine.backend.machine(owner)}
}

// For is As with the owner of a home.
func (f *Fake) For(h cluster.Home) (cluster.Driver, error) { return f.As(h.Owner()), nil }

// Name is DriverName.
func (f *Fake) Name() cluster.DriverName { return f.DriverName }

// Close does nothing: nodes keep running.
func (f *Fake) Close() error { return nil }

// Create makes a running node.
func (f *Fake) Create(ctx context.Context, spec cluster.NodeSpec) (cluster.Node, error) {
	n, err := f.machine.reserve(f, spec)
	if err != nil {
		return cluster.Node{}, err
	}
	if err := errors.Join(checkHostPaths(spec), f.machine.checkPayload(spec.Payload)); err != nil {
		f.machine.release(n)
		return cluster.Node{}, fmt.Errorf("create node %s: %w", spec.Name, err)
	}
	if err := f.before(ctx, "create", n); err != nil {
		f.machine.release(n)
		return cluster.Node{}, err
	}
	f.machine.commit(n)
	f.after("create", n)
	return n, nil
}

// checkHostPaths rejects mounts whose host path does not exist, as a real engine does.
func checkHostPaths(spec cluster.NodeSpec) error {
	paths := []string{}
	for _, p := range []string{spec.TunnelDir, spec.NodeDir, spec.SharedDir} {
		if p != "" {
			paths = append(paths, p)
		}
	}
	for _, m := range spec.Mounts {
		paths = append(paths, m.Host)
	}
	for _, p := range paths {
		if !filepath.IsAbs(p) {
			return fmt.Errorf("mount %q: not an absolute path", p)
		}
		if _, err := os.Stat(p); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
	}
	return nil
}

// List returns the nodes of one cluster, or of all.
func (f *Fake) List(ctx context.Context, clusterName string) ([]cluster.Node, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	var nodes []cluster.Node
	for _, n := range f.machine.nodes {
		if n.ready && (clusterName == "" || n.node.Cluster == clusterName) {
			nodes = append(nodes, n.snapshot())
		}
	}
	cluster.SortNodes(nodes)
	return nodes, nil
}

// Delete removes a node.
func (f *Fake) Delete(ctx context.Context, n cluster.Node) error {
	if _, err := f.machine.find(n); err != nil {
		return nil //nolint:nilerr // already gone
	}
	if err := f.before(ctx, "delete", n); err != nil {
		return err
	}
	f.machine.mu.Lock()
	if _, ok := f.machine.nodes[key(n)]; ok {
		f.machine.remove(n)
		f.machine.note("delete", n)
	}
	f.machine.mu.Unlock()
	f.after("delete", n)
	return nil
}

// DeleteCluster removes the network of a cluster.
func (f *Fake) DeleteCluster(ctx context.Context, clusterName string) error {
	n := cluster.Node{Cluster: clusterName}
	if err := f.before(ctx, "delete-cluster", n); err != nil {
		return err
	}
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	for _, node := range f.machine.nodes {
		if node.node.Cluster == clusterName {
			return fmt.Errorf("remove network kl-%s: it has active endpoints", clusterName)
		}
	}
	delete(f.machine.networks, clusterName)
	f.machine.note("delete-cluster", n)
	return nil
}

// Start starts a stopped node.
func (f *Fake) Start(ctx context.Context, n cluster.Node) error {
	return f.change(ctx, "start", n, func(node *fakeNode) error {
		if node.node.State == cluster.NodePaused {
			return fmt.Errorf("start node %s: it is paused", n.Name)
		}
		node.node.State = cluster.NodeRunning
		return nil
	})
}

// Stop stops a node.
func (f *Fake) Stop(ctx context.Context, n cluster.Node) error { return f.change(ctx, "stop", n, off) }

// Kill stops a node.
func (f *Fake) Kill(ctx context.Context, n cluster.Node) error { return f.change(ctx, "kill", n, off) }

func off(node *fakeNode) error {
	node.node.State = cluster.NodeStopped
	maps.DeleteFunc(node.files, func(path, _ string) bool { return volatile(path) })
	return nil
}

// Pause freezes a node.
func (f *Fake) Pause(ctx context.Context, n cluster.Node) error {
	return f.change(ctx, "pause", n, func(node *fakeNode) error {
		if node.node.State == cluster.NodeStopped {
			return fmt.Errorf("pause node %s: it is stopped", n.Name)
		}
		node.node.State = cluster.NodePaused
		return nil
	})
}

// Resume unfreezes a node.
func (f *Fake) Resume(ctx context.Context, n cluster.Node) error {
	return f.change(ctx, "resume", n, func(node *fakeNode) error {
		if node.node.State == cluster.NodeStopped {
			return fmt.Errorf("resume node %s: it is stopped", n.Name)
		}
		node.node.State = cluster.NodeRunning
		return nil
	})
}

// Upgrade makes a stopped node of another payload. Of its files, those on /var are kept.
func (f *Fake) Upgrade(ctx context.Context, n cluster.Node, p cluster.Payload) (cluster.Node, error) {
	if err := f.machine.checkPayload(p); err != nil {
		return cluster.Node{}, fmt.Errorf("upgrade node %s: %w", n.Name, err)
	}
	err := f.change(ctx, "upgrade", n, func(node *fakeNode) error {
		if node.node.State != cluster.NodeStopped {
			return fmt.Errorf("upgrade node %s: it is %s", n.Name, node.node.State)
		}
		node.node.PayloadSHA, node.spec.Payload = p.SHA, p
		f.machine.images[p.SHA] = true
		maps.DeleteFunc(node.files, func(path, _ string) bool { return !strings.HasPrefix(path, "/var/") })
		return nil
	})
	if err != nil {
		return cluster.Node{}, err
	}
	return f.machine.find(n)
}

// change runs do on a node under the machine's lock.
func (f *Fake) change(ctx context.Context, op string, n cluster.Node, do func(*fakeNode) error) error {
	if _, err := f.machine.find(n); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := f.before(ctx, op, n); err != nil {
		return err
	}
	f.machine.mu.Lock()
	node, ok := f.machine.nodes[key(n)]
	if !ok {
		f.machine.mu.Unlock()
		return fmt.Errorf("%s node %s: %w", op, n.Name, errGone)
	}
	err := do(node)
	now := node.snapshot()
	if err == nil {
		f.machine.note(op, now)
	}
	f.machine.mu.Unlock()
	if err == nil {
		f.after(op, now)
	}
	return err
}

func (f *Fake) before(ctx context.Context, op string, n cluster.Node) error {
	if f.Hook != nil {
		if err := f.Hook(ctx, op, n); err != nil {
			return fmt.Errorf("%s %s: %w", op, key(n), err)
		}
	}
	return ctx.Err()
}

func (f *Fake) after(op string, n cluster.Node) {
	if f.Changed != nil {
		f.Changed(op, n)
	}
}

// Dump describes what the Fake's owner has on the machine, one line for each thing, ordered: images, networks, nodes with their files.
func (f *Fake) Dump() string { return f.machine.dump("") }

// History returns every operation that took effect, oldest first: "create demo/n1", "stop demo/n1".
func (f *Fake) History() []string {
	f.machine.mu.Lock()
	defer f.machine.mu.Unlock()
	return slices.Clone(f.machine.history)
}
