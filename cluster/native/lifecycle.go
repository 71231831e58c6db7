//go:build linux

package native

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klkube/kl/cluster"
)

// with runs do on a node that no other verb works on.
func (d *Driver) with(ctx context.Context, verb string, n cluster.Node, do func(bundle) error) error {
	b := d.bundle(n.Cluster, n.Name)
	unlock, err := lockDir(ctx, b.dir)
	if err == nil {
		err = do(b)
		unlock()
	}
	if err != nil {
		return fmt.Errorf("%s node %s: %w", verb, n.Name, err)
	}
	return nil
}

// Start turns a node on. A paused node is not off.
func (d *Driver) Start(ctx context.Context, n cluster.Node) error {
	return d.with(ctx, "start", n, func(b bundle) error {
		_, c, err := b.inspect()
		if err != nil || c.Status == "running" || c.Status == "paused" {
			return err
		}
		if err := b.halt(ctx, 0); err != nil { // a supervisor that waits to try again
			return err
		}
		if err := os.Remove(b.offFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return d.launch(ctx, b)
	})
}

// Stop ends a node gracefully, by force after stopTimeout.
func (d *Driver) Stop(ctx context.Context, n cluster.Node) error {
	return d.with(ctx, "stop", n, func(b bundle) error { return b.halt(ctx, stopTimeout) })
}

// Kill ends a node at once.
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
			return errors.New("it is stopped")
		}
		_, err = r.runc(b.scope()).run(ctx, "pause", b.name())
		return err
	})
}

// Resume lets a frozen node go on; a node that is not frozen is left as it is.
func (d *Driver) Resume(ctx context.Context, n cluster.Node) error {
	return d.with(ctx, "resume", n, func(b bundle) error {
		r, c, err := b.inspect()
		if err != nil || c.Status != "paused" {
			return err
		}
		_, err = r.runc(b.scope()).run(ctx, "resume", b.name())
		return err
	})
}

// Delete ends a node and removes all of it.
func (d *Driver) Delete(ctx context.Context, n cluster.Node) error {
	err := d.with(ctx, "delete", n, func(b bundle) error { return d.destroy(ctx, b) })
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

// destroy removes a node whose lock is held. Its directory is renamed first: from then on there is no such node.
func (d *Driver) destroy(ctx context.Context, b bundle) error {
	if err := b.halt(ctx, 0); err != nil {
		return err
	}
	aside, err := os.MkdirTemp(d.root, ".old-")
	if err != nil {
		return err
	}
	if err := os.Rename(b.dir, filepath.Join(aside, "node")); err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	return os.RemoveAll(aside)
}

// halt ends a node and its supervisor and waits until both are gone, with what the kernel held for them. The node has
// patience to end by itself. The lock of the node is held.
func (b bundle) halt(ctx context.Context, patience time.Duration) error {
	r, err := b.read()
	if err != nil {
		return err
	}
	if err := os.WriteFile(b.offFile(), nil, 0o600); err != nil { // before anything ends: it must not be restarted
		return err
	}
	rc := r.runc(b.scope())
	deadline, asked := time.Now().Add(patience), 0
	err = poll(ctx, func() (bool, error) {
		c, err := rc.container(b.name())
		switch {
		case err != nil:
			return false, err
		case c.PID > 0 && time.Now().Before(deadline):
			if asked != c.PID {
				asked = c.PID
				err = rc.end(ctx, c, unix.SIGTERM)
			}
			return false, errors.Join(err, waitGone(ctx, c.PID, deadline))
		case c.PID > 0:
			return false, rc.end(ctx, c, unix.SIGKILL)
		}
		return b.unsupervised()
	})
	if err != nil {
		return fmt.Errorf("end the node: %w", err)
	}
	return errors.Join(rc.forget(ctx, b.name()), removeLink(b.scope().veth(b.name())), removeCgroup(ctx, b.scope().cgroup()+"/"+b.name()))
}

// end sends a signal to a node's init. A frozen process would take it only when it goes on.
func (r runc) end(ctx context.Context, c container, signal unix.Signal) error {
	if err := unix.Kill(c.PID, signal); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal the node's init: %w", err)
	}
	if c.Status != "paused" {
		return nil
	}
	_, err := r.run(ctx, "resume", c.ID)
	return err
}

// waitGone waits for the end of a process until a point in time.
func waitGone(ctx context.Context, pid int, until time.Time) error {
	limited, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	_ = poll(limited, func() (bool, error) { return !alive(pid), nil })
	return ctx.Err()
}

// unsupervised tells whether no supervisor has claimed the node.
func (b bundle) unsupervised() (bool, error) {
	f, err := os.OpenFile(b.guard(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	return err == nil, nil
}

// DeleteCluster removes the bridge, the rules and the empty directories of a cluster.
func (d *Driver) DeleteCluster(ctx context.Context, clusterName string) error {
	return d.cleanUp(ctx, clusterName, true)
}

// cleanUp removes what a cluster without nodes shares, and what crashes have left. If strict, nodes are an error.
func (d *Driver) cleanUp(ctx context.Context, clusterName string, strict bool) error {
	unlock, err := lockMade(ctx, runDir)
	if err != nil {
		return err
	}
	defer unlock()
	nodes, err := filepath.Glob(filepath.Join(escapeGlob(d.root), clusterName, "*"))
	if err != nil {
		return err
	}
	if len(nodes) > 0 {
		if strict {
			return fmt.Errorf("remove the network of cluster %s: it has nodes", clusterName)
		}
		return nil
	}
	s := d.scope(clusterName)
	err = errors.Join(s.removeNetwork(), removeCgroup(ctx, s.cgroup()), os.RemoveAll(s.runc()), d.sweep())
	for _, dir := range []string{filepath.Join(d.root, clusterName), d.root, runDir} {
		_ = os.Remove(dir) // if it is empty
	}
	return err
}

// sweep removes directories that a crash has left: those that nobody holds the lock of.
func (d *Driver) sweep() error {
	var errs []error
	left, err := filepath.Glob(filepath.Join(escapeGlob(d.root), ".*-*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		f, err := os.Open(dir)
		if err != nil {
			continue // someone else was quicker
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			errs = append(errs, os.RemoveAll(dir))
		}
		f.Close()
	}
	return errors.Join(errs...)
}
