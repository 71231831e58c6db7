package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
)

// Stop turns a cluster off and keeps all of it: etcd, volumes, images, the nodes' identities and addresses. Start or Up
// bring it back. Stopping a stopped cluster does nothing.
func (h *Host) Stop(ctx context.Context, name string) error {
	return h.change(ctx, name, "kl stop", func(ctx context.Context, c *change) error {
		for _, n := range c.nodes { // all marks first, so that nothing turns a node on while others go off
			if err := mark(c.layout.NodeStoppedFile(n.Name)); err != nil {
				return err
			}
		}
		if err := c.resumePlane(ctx); err != nil { // a frozen process cannot end itself
			return err
		}
		err := c.each(ctx, c.nodes, func(ctx context.Context, n cluster.Node) (string, error) { return "stopped", c.stopNode(ctx, n) })
		if err != nil {
			return err
		}
		if pid, err := ControlPlanePID(c.layout); pid == 0 {
			return err
		}
		return c.steps.do(cluster.StepControlPlane, func() (string, error) { return "stopped", stopControlPlane(ctx, c.layout) })
	})
}

// Start brings a stopped cluster back, as Up does; it does not make one.
func (h *Host) Start(ctx context.Context, name string, o UpOptions) (*Result, error) {
	if _, err := cluster.ReadSpec(h.Home.Cluster(name)); err != nil {
		return nil, err
	}
	return h.Up(ctx, cluster.Spec{Name: name}, o)
}

// Pause freezes a cluster: its processes keep their memory and use no CPU until Resume. Pausing twice does nothing.
func (h *Host) Pause(ctx context.Context, name string) error {
	return h.change(ctx, name, "kl pause", func(ctx context.Context, c *change) error {
		err := c.each(ctx, c.nodes, func(ctx context.Context, n cluster.Node) (string, error) {
			if n.State != cluster.NodeRunning {
				return strings.ToLower(string(n.State)), nil
			}
			p, ok := c.driver.(cluster.Pauser)
			if !ok {
				return "", c.unable("pause node", n)
			}
			return "paused", p.Pause(ctx, n)
		})
		if err != nil {
			return err
		}
		return c.signalPlane(ctx, "paused", syscall.SIGSTOP)
	})
}

// Resume undoes Pause; it does nothing to a cluster that runs.
func (h *Host) Resume(ctx context.Context, name string) error {
	return h.change(ctx, name, "kl resume", func(ctx context.Context, c *change) error {
		if err := c.resumePlane(ctx); err != nil {
			return err
		}
		return c.each(ctx, c.nodes, func(ctx context.Context, n cluster.Node) (string, error) {
			if n.State != cluster.NodePaused {
				return strings.ToLower(string(n.State)), nil
			}
			p, ok := c.driver.(cluster.Pauser)
			if !ok {
				return "", c.unable("resume node", n)
			}
			return "running", p.Resume(ctx, n)
		})
	})
}

func (c *change) resumePlane(ctx context.Context) error {
	return c.signalPlane(ctx, "running", syscall.SIGCONT)
}

// signalPlane sends a job control signal to the control plane, if one runs, and waits until it has taken effect.
func (c *change) signalPlane(ctx context.Context, state string, s syscall.Signal) error {
	pid, err := ControlPlanePID(c.layout)
	if err != nil || pid == 0 {
		return err
	}
	want := s == syscall.SIGSTOP
	if frozen(pid) == want {
		return nil
	}
	return c.steps.within(ctx, cluster.StepControlPlane, func() (string, error) {
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return "", fmt.Errorf("signal control plane (process %d): %w", pid, err)
		}
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for frozen(pid) != want && processExists(pid) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return "", fmt.Errorf("signal control plane (process %d): %w", pid, context.Cause(ctx))
			}
		}
		return state, nil
	})
}

func processExists(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// thaw lets a paused control plane go on, for those who are about to talk to it.
func thaw(pid int) error {
	if pid == 0 || !frozen(pid) {
		return nil
	}
	return syscall.Kill(pid, syscall.SIGCONT)
}

// frozen tells whether a process is stopped by a signal: state T of proc(5). It is false where /proc is not to be had.
func frozen(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(stat), ") ") // the command's name may hold anything, but ends with the last ")"
	for ok && strings.Contains(rest, ") ") {
		_, rest, ok = strings.Cut(rest, ") ")
	}
	return strings.HasPrefix(rest, "T")
}

// stopNode turns a node off; it may be paused, and then is let go first.
func (c *change) stopNode(ctx context.Context, n cluster.Node) error {
	if n.State == cluster.NodeStopped {
		return nil
	}
	if p, ok := c.driver.(cluster.Pauser); ok && n.State == cluster.NodePaused {
		if err := p.Resume(ctx, n); err != nil {
			return &cluster.Error{Op: "resume node", Node: n.Name, Err: err}
		}
	}
	s, ok := c.driver.(cluster.Starter)
	if !ok {
		return c.unable("stop node", n)
	}
	if err := s.Stop(ctx, n); err != nil {
		return &cluster.Error{Op: "stop node", Node: n.Name, Err: err}
	}
	return nil
}

// stoppedOnPurpose tells whether a node is off because somebody wants it to be.
func stoppedOnPurpose(l cluster.Layout, node string) bool {
	_, err := os.Stat(l.NodeStoppedFile(node))
	return !errors.Is(err, fs.ErrNotExist)
}
