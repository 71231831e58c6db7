//go:build linux

package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// with calls do while holding the node's lock.
func (d *Driver) with(ctx context.Context, verb string, n cluster.Node, do func(bundle) error) error {
	b := d.bundle(n.Cluster, n.Name)
	lock, err := b.lock(ctx)
	if err == nil {
		err = do(b)
		lock.Unlock()
	}
	if err != nil {
		return fmt.Errorf("%s node %s: %w", verb, n.Name, err)
	}
	return nil
}

// Start starts a stopped node. To one that runs or is paused, it does no more than Mend.
func (d *Driver) Start(ctx context.Context, n cluster.Node) error {
	return d.with(ctx, "start", n, func(b bundle) error {
		_, c, err := b.inspect()
		if err != nil {
			return err
		}
		if c.Status == "running" || c.Status == "paused" {
			return d.mend(ctx, b)
		}
		if err := b.halt(ctx, 0); err != nil { // ends a supervisor that waits to restart the node
			return err
		}
		if err := os.Remove(b.offFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return d.launch(ctx, b)
	})
}

// Mend gives each node of a cluster that lost its supervisor a new one, which takes over the node, or starts it if it has ended
// meanwhile. Nodes that are off on purpose stay off.
func (d *Driver) Mend(ctx context.Context, clusterName string) error {
	records, err := d.records()
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range records {
		if r.Spec.Cluster != clusterName || !d.bundle(clusterName, r.Spec.Name).orphaned() {
			continue
		}
		n := cluster.Node{Cluster: clusterName, Name: r.Spec.Name}
		if err := d.with(ctx, "supervise", n, func(b bundle) error { return d.mend(ctx, b) }); !errors.Is(err, errNoNode) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// mend is Mend for one node, whose lock is held.
func (d *Driver) mend(ctx context.Context, b bundle) error {
	if !b.orphaned() {
		return nil
	}
	_, c, err := b.inspect()
	if err != nil {
		return err
	}
	if c.PID == 0 {
		return d.launch(ctx, b)
	}
	if _, err = d.spawn(ctx, b); errors.Is(err, errSupervised) {
		return nil
	}
	return err // the node runs on
}

// orphaned reports whether a node that should be on has no supervisor.
func (b bundle) orphaned() bool {
	if _, err := os.Stat(b.offFile()); err == nil {
		return false
	}
	locked, err := statefile.Locked(b.supervisorLock())
	return err == nil && !locked
}

// Stop shuts a node down, and kills it if it still runs after stopTimeout.
func (d *Driver) Stop(ctx context.Context, n cluster.Node) error {
	return d.with(ctx, "stop", n, func(b bundle) error { return b.halt(ctx, stopTimeout) })
}

// Kill ends a node immediately.
func (d *Driver) Kill(ctx context.Context, n cluster.Node) error {
	return d.with(ctx, "kill", n, func(b bundle) error { return b.halt(ctx, 0) })
}

// Pause freezes a node.
func (d *Driver) Pause(ctx context.Context, n cluster.Node) error {
	return d.with(ctx, "pause", n, func(b bundle) error {
		r, c, err := b.inspect()
		switch {
		case err != nil || c.Status == "paused":
			return err
		case c.Status != "running":
			return errors.New("the node is stopped")
		}
		return r.runc(b.scope()).run(ctx, "pause", b.name())
	})
}

// Resume unfreezes a node. It does nothing to one that is not frozen.
func (d *Driver) Resume(ctx context.Context, n cluster.Node) error {
	return d.with(ctx, "resume", n, func(b bundle) error {
		r, c, err := b.inspect()
		if err != nil || c.Status != "paused" {
			return err
		}
		return r.runc(b.scope()).run(ctx, "resume", b.name())
	})
}

// Delete kills a node and removes everything that belongs to it.
func (d *Driver) Delete(ctx context.Context, n cluster.Node) error {
	b := d.bundle(n.Cluster, n.Name)
	if info, err := os.Lstat(b.dir); err == nil && !info.IsDir() { // no directory, and so nothing that could be locked
		return d.destroy(ctx, b)
	}
	err := d.with(ctx, "delete", n, func(b bundle) error { return d.destroy(ctx, b) })
	if !errors.Is(err, errNoNode) {
		return err
	}
	left, err := d.remains(n.Cluster)
	if b := d.bundle(n.Cluster, n.Name); err == nil && slices.Contains(left, b) {
		err = b.force(ctx)
	}
	return err
}

// destroy removes a node, whatever state its files are in. The caller holds its lock, if the node has a directory. The directory is renamed first: from then
// on the node does not exist.
func (d *Driver) destroy(ctx context.Context, b bundle) error {
	if err := b.halt(ctx, 0); err != nil {
		if ctx.Err() != nil {
			return err
		}
		d.log.Info("end a node without the help of its files", "node", b.dir, "reason", err)
		if forced := b.force(ctx); forced != nil {
			return errors.Join(err, forced)
		}
	}
	if err := b.killSupervisors(ctx); err != nil { // none is left, unless its lock was removed
		return err
	}
	aside, err := os.MkdirTemp(d.root, ".old-")
	if err != nil { // as on a full disk: what is left if that is interrupted is a damaged node, and can be deleted
		return os.RemoveAll(b.dir)
	}
	if err := os.Rename(b.dir, filepath.Join(aside, "node")); err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	return os.RemoveAll(aside)
}

// halt ends a node and its supervisor, waits until both are gone, and removes what the kernel held for them. The node gets
// the grace period to shut down before it is killed. The caller holds the node's lock.
func (b bundle) halt(ctx context.Context, gracePeriod time.Duration) error {
	r, err := b.read()
	if err != nil {
		return err
	}
	err = statefile.Write(b.offFile(), nil, 0o600) // first of all: the supervisor must not restart the node
	if cluster.DiskFull(err) {
		err = b.killSupervisors(ctx)
	}
	if err != nil {
		return err
	}
	rc := r.runc(b.scope())
	deadline, signalled := time.Now().Add(gracePeriod), 0
	// A loop, because a supervisor that is just starting the node may bring up another init after the first one ended.
	err = wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		c, err := rc.container(b.name())
		switch {
		case err != nil:
			return false, err
		case c.PID > 0 && time.Now().Before(deadline):
			if signalled != c.PID {
				signalled = c.PID
				err = rc.signal(ctx, c, unix.SIGTERM)
			}
			return false, errors.Join(err, waitExitUntil(ctx, c.PID, deadline))
		case c.PID > 0:
			return false, errors.Join(rc.signal(ctx, c, unix.SIGKILL), waitExit(ctx, c.PID))
		}
		gone, err := b.unsupervised()
		if err == nil && !gone { // runc has no state of the node, yet or any more: without its processes the supervisor ends
			_, err = signalCgroup(b.scope().cgroup() + "/" + b.name())
		}
		return gone, err
	})
	if err != nil {
		return fmt.Errorf("end the node: %w", err)
	}
	return errors.Join(rc.remove(ctx, b.name()), b.scope().disconnect(b.name()), removeCgroup(ctx, b.scope().cgroup()+"/"+b.name()))
}

// signal sends a signal to a node's init, and unfreezes the node: a frozen process does not handle signals.
func (r runc) signal(ctx context.Context, c container, signal unix.Signal) error {
	if err := unix.Kill(c.PID, signal); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal the node's init: %w", err)
	}
	if c.Status != "paused" {
		return nil
	}
	return r.run(ctx, "resume", c.ID)
}

// waitExitUntil is waitExit with a deadline, which is no error.
func waitExitUntil(ctx context.Context, pid int, deadline time.Time) error {
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	err := waitExit(limited, pid)
	if errors.Is(err, context.DeadlineExceeded) {
		return ctx.Err()
	}
	return err
}

// unsupervised reports whether the node has no supervisor: a supervisor holds the lock as long as its process exists.
func (b bundle) unsupervised() (bool, error) {
	l, err := statefile.TryLock(b.supervisorLock())
	if errors.Is(err, statefile.ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l.Unlock()
	return true, nil
}

// DeleteCluster removes the bridge, the firewall rules and the empty directories of a cluster.
func (d *Driver) DeleteCluster(ctx context.Context, clusterName string) error {
	return d.cleanUp(ctx, clusterName, true)
}

// cleanUp removes what the nodes of a cluster shared, and what crashes left behind. While the cluster has nodes it does
// nothing, or if strict returns an error.
func (d *Driver) cleanUp(ctx context.Context, clusterName string, strict bool) error {
	lock, err := lockMachine(ctx)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	nodes, err := filepath.Glob(filepath.Join(escapeGlob(d.root), clusterName, "*"))
	if err != nil {
		return err
	}
	if len(nodes) > 0 {
		if strict {
			return fmt.Errorf("remove the network of cluster %s: the cluster still has nodes", clusterName)
		}
		return nil
	}
	s := d.scope(clusterName)
	err = errors.Join(s.removeNetwork(), removeCgroup(ctx, s.cgroup()), os.RemoveAll(s.runc()), d.sweep())
	for _, dir := range []string{filepath.Join(d.root, clusterName), d.root, runDir} {
		_ = os.Remove(dir) // fails, and is meant to, unless the directory is empty
	}
	return err
}

// sweep removes temporary directories that a crash left behind: those that no process has locked.
func (d *Driver) sweep() error {
	var errs []error
	left, err := filepath.Glob(filepath.Join(escapeGlob(d.root), ".*-*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		lock, err := statefile.TryLockDir(dir)
		switch {
		case err == nil:
			errs = append(errs, os.RemoveAll(dir))
			lock.Unlock()
		case errors.Is(err, statefile.ErrLocked), errors.Is(err, fs.ErrNotExist): // in use, or another process was quicker
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
