package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Stop turns a cluster off and keeps all its state: etcd, volumes, images, the nodes' identities and addresses. Start or
// Up start it again. Stopping a stopped cluster does nothing.
func (h *Host) Stop(ctx context.Context, name string) error {
	return h.change(ctx, name, "kl stop", func(ctx context.Context, c *change) error {
		err := markAll(c.layout, []driverNodes{{c.driver, c.nodes}}) // first: the control plane restarts nodes that go off unmarked
		if err != nil && !cluster.DiskFull(err) {
			return err
		}
		if err := c.resumePlane(ctx); err != nil { // a frozen process cannot end itself
			return err
		}
		if err != nil { // without marks, it must not see the nodes go
			if err := c.stopPlane(ctx, cluster.StepControlPlane); err != nil {
				return err
			}
		}
		err = c.each(ctx, c.nodes, func(ctx context.Context, n cluster.Node) (string, error) {
			return "stopped", stopNode(ctx, c.driver, n)
		})
		if err != nil {
			return err
		}
		return c.stopPlane(ctx, cluster.StepControlPlane)
	})
}

// stopPlane stops the control plane, if one runs, as a step of that name.
func (c *change) stopPlane(ctx context.Context, step string) error {
	if running, err := running(c.layout); !running {
		return err
	}
	return c.steps.do(step, func() (string, error) { return "stopped", stopControlPlane(ctx, c.layout) })
}

// Start starts a stopped cluster as Up does, but never makes one.
func (h *Host) Start(ctx context.Context, name string, o UpOptions) (*Result, error) {
	return h.lockedUp(ctx, cluster.Spec{Name: name}, o, func(ctx context.Context, r upRequest) (*Result, error) {
		if _, err := cluster.ReadSpec(r.layout); err != nil {
			return nil, err
		}
		return h.upLocked(ctx, r)
	})
}

// attendInterval is how often Attend looks: the kernel sends no event when a lock is given back.
const attendInterval = 500 * time.Millisecond

// Attend blocks for as long as the cluster has a control plane or a supervisor that is starting one. It returns nil once the
// cluster was stopped or removed, and an error if it died.
func Attend(ctx context.Context, l cluster.Layout) error {
	err := wait.PollUntilContextCancel(ctx, attendInterval, true, func(context.Context) (bool, error) {
		on, err := running(l)
		return !on, err
	})
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	phase, reason, err := PhaseOf(l)
	if err == nil && phase == cluster.PhaseCrashed {
		err = &cluster.Error{Op: "run cluster " + l.Name, Err: errors.New(reason)}
	}
	return err
}

// Pause freezes a cluster: its processes keep their memory and use no CPU until Resume. Pausing twice does nothing.
func (h *Host) Pause(ctx context.Context, name string) error {
	return h.change(ctx, name, "kl pause", func(ctx context.Context, c *change) error {
		if err := c.needsPlane("pause"); err != nil {
			return err
		}
		err := c.each(ctx, c.nodes, func(ctx context.Context, n cluster.Node) (string, error) {
			if n.State != cluster.NodeRunning {
				return strings.ToLower(string(n.State)), nil
			}
			p, ok := c.driver.(cluster.Pauser)
			if !ok {
				return "", unable(c.driver, "pause node", n)
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
		if err := c.needsPlane("resume"); err != nil {
			return err
		}
		if err := c.resumePlane(ctx); err != nil {
			return err
		}
		return c.each(ctx, c.nodes, func(ctx context.Context, n cluster.Node) (string, error) {
			if n.State != cluster.NodePaused {
				return strings.ToLower(string(n.State)), nil
			}
			p, ok := c.driver.(cluster.Pauser)
			if !ok {
				return "", unable(c.driver, "resume node", n)
			}
			return "running", p.Resume(ctx, n)
		})
	})
}

// needsPlane returns an error if the control plane is neither running nor paused.
func (c *change) needsPlane(op string) error {
	phase, _, err := PhaseOf(c.layout)
	if err == nil && (phase == cluster.PhaseStopped || phase == cluster.PhaseCrashed) {
		err = &cluster.Error{
			Op: op + " cluster " + c.spec.Name, Err: errors.New("it is " + strings.ToLower(string(phase))),
			Hint: "'kl start --name " + c.spec.Name + "' starts the cluster",
		}
	}
	return err
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
		err := wait.PollUntilContextCancel(ctx, time.Millisecond, true, func(context.Context) (bool, error) {
			return frozen(pid) == want || !processExists(pid), nil
		})
		if err != nil {
			return "", fmt.Errorf("signal control plane (process %d): %w", pid, context.Cause(ctx))
		}
		return state, nil
	})
}

func processExists(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// thaw resumes a paused control plane; it does nothing to one that runs, and to process 0.
func thaw(pid int) error {
	if pid == 0 || !frozen(pid) {
		return nil
	}
	return syscall.Kill(pid, syscall.SIGCONT)
}

// frozen reports whether a process is stopped by a signal: state T of proc(5). It is false on systems without /proc.
func frozen(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(stat), ") ") // the command's name may contain anything and ends at the last ")"
	for ok && strings.Contains(rest, ") ") {
		_, rest, ok = strings.Cut(rest, ") ")
	}
	return strings.HasPrefix(rest, "T")
}

// stopNode turns a node off; a paused one is resumed first.
func stopNode(ctx context.Context, d cluster.Driver, n cluster.Node) error {
	if n.State == cluster.NodeStopped {
		return nil
	}
	if p, ok := d.(cluster.Pauser); ok && n.State == cluster.NodePaused {
		if err := p.Resume(ctx, n); err != nil {
			return &cluster.Error{Op: "resume node", Node: n.Name, Err: err}
		}
	}
	s, ok := d.(cluster.Starter)
	if !ok {
		return unable(d, "stop node", n)
	}
	if err := s.Stop(ctx, n); err != nil {
		return &cluster.Error{Op: "stop node", Node: n.Name, Err: err}
	}
	return nil
}

// finishNodeStop completes a stop that was interrupted and returns the node as it is then: one that is marked as stopped, and
// still runs, may be about to end.
func finishNodeStop(ctx context.Context, l cluster.Layout, d cluster.Driver, n cluster.Node) (cluster.Node, error) {
	_, err := os.Stat(l.NodeStoppedFile(n.Name))
	_, ok := d.(cluster.Starter)
	if err != nil || !ok || n.State != cluster.NodeRunning && n.State != cluster.NodePaused {
		return n, nil //nolint:nilerr // without the mark nothing was interrupted
	}
	if err := stopNode(ctx, d, n); err != nil {
		return n, err
	}
	n.State = cluster.NodeStopped
	return n, nil
}
