package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	stopTimeout    = 15 * time.Second       // the control plane promises 10
	signalInterval = 100 * time.Millisecond // between two killSignals
	claimInterval  = 2 * time.Millisecond   // between two looks at the file of a supervisor that was started
)

// process is the supervisor of a control plane that this process started.
type process struct {
	layout cluster.Layout
	pid    int
	exited chan struct{} // closed once the process has ended
}

// spawn starts the cluster's control plane: a supervisor that starts the engine, in a session of its own, so that it outlives
// this process and neither Ctrl-C nor the end of the terminal reaches it. Its output goes to logs/control-plane.log. A supervisor
// that a command started just before it was killed may come first: it is stopped, since it may know another configuration.
func (h *Host) spawn(ctx context.Context, l cluster.Layout, engine string) (*process, error) {
	for _, dir := range []string{filepath.Dir(l.LogFile(cluster.ControlPlane)), l.RunDir(), l.TunnelsDir()} {
		if err := statefile.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		// A supervisor that waits before it tries again makes way for one that tries now.
		if err := stopControlPlane(ctx, l); err != nil {
			return nil, err
		}
		if err := removeStale(l); errors.Is(err, statefile.ErrLocked) {
			continue // a supervisor has begun since
		} else if err != nil {
			return nil, err
		}
		p, err := h.spawnSupervisor(l, engine)
		if err != nil {
			return nil, err
		}
		if other, err := p.outrun(ctx); err != nil || !other {
			return p, err
		}
	}
}

// removeStale removes what the previous control plane left: it must not be taken for the next one's. The error is
// statefile.ErrLocked if there is a supervisor.
func removeStale(l cluster.Layout) error {
	lock, err := statefile.TryLock(l.SupervisorFile())
	if err != nil {
		return err
	}
	defer lock.Unlock()
	for _, stale := range []string{l.FailedFile(), l.StatusSocket(), l.SupervisorFile()} {
		if err := os.Remove(stale); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (h *Host) spawnSupervisor(l cluster.Layout, engine string) (*process, error) {
	log, err := statefile.OpenLog(l.LogFile(cluster.ControlPlane), 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd, err := h.supervisor(l, engine)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{layout: l, pid: cmd.Process.Pid, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // why it ended is in the supervisor's file
		close(p.exited)
	}()
	return p, nil
}

// outrun waits until the supervisor has written its file or ended, and reports whether it ended because there is another one.
func (p *process) outrun(ctx context.Context) (bool, error) {
	tick := time.NewTicker(claimInterval)
	defer tick.Stop()
	for {
		ended := false
		select {
		case <-p.exited:
			ended = true
		case <-ctx.Done():
			return false, nil // whoever waits for the control plane says so
		case <-tick.C:
		}
		s, alive, err := cluster.ReadSupervision(p.layout)
		switch {
		case err != nil:
			return false, err
		case alive && s.PID == p.pid:
			return false, nil
		case ended:
			return alive, nil
		}
	}
}

// ControlPlanePID returns the process ID of the cluster's control plane, 0 if none runs. Only a process that holds the
// lock on the PID file counts: without the lock, the number may belong to another process by now.
func ControlPlanePID(l cluster.Layout) (pid int, err error) {
	for end := time.Now().Add(pidGrace); ; <-time.After(pidGrace / 100) {
		pid, err = readPID(l)
		if !errors.Is(err, errNoPID) || time.Now().After(end) {
			return pid, err
		}
	}
}

// pidGrace is how long a control plane may hold the lock on its PID file while the file is empty: as it starts, between
// taking the lock and writing its process ID, and as it ends, between clearing the file and releasing the lock.
const pidGrace = 500 * time.Millisecond

var errNoPID = errors.New("locked, but contains no process ID")

// readPID is ControlPlanePID at one moment.
func readPID(l cluster.Layout) (int, error) {
	locked, err := statefile.Locked(l.PIDFile())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("find control plane: %w", err)
	case !locked:
		return 0, nil
	}
	data, err := statefile.Read(l.PIDFile())
	if err != nil {
		return 0, fmt.Errorf("find control plane: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 1 {
		return 0, cluster.Damaged(l, l.PIDFile(), fmt.Errorf("%w: %q", errNoPID, data))
	}
	return pid, nil
}

// stopControlPlane ends the cluster's control plane and its supervisor, with SIGKILL if they do not end within stopTimeout.
// It returns nil if none runs.
func stopControlPlane(ctx context.Context, l cluster.Layout) error {
	return endControlPlane(ctx, l, syscall.SIGTERM, syscall.SIGKILL)
}

// finishStop completes a stop that was interrupted: whoever starts the cluster now cannot count on a control plane that is ending.
func finishStop(ctx context.Context, l cluster.Layout) error {
	s, alive, err := cluster.ReadSupervision(l)
	if err != nil || !alive || s.State != cluster.SupervisionStopping {
		return err
	}
	return stopControlPlane(ctx, l)
}

// killControlPlane ends the control plane at once: for a cluster whose data is removed as well.
func killControlPlane(ctx context.Context, l cluster.Layout) error {
	return endControlPlane(ctx, l, killSignal, syscall.SIGKILL)
}

// running reports whether the cluster has a control plane, or a supervisor that is about to start one.
func running(l cluster.Layout) (bool, error) {
	pid, err := ControlPlanePID(l)
	if pid != 0 || err != nil {
		return pid != 0, err
	}
	_, supervised, err := cluster.ReadSupervision(l)
	return supervised, err
}

func endControlPlane(ctx context.Context, l cluster.Layout, signals ...syscall.Signal) error {
	for _, s := range signals {
		pid, err := ControlPlanePID(l)
		if err != nil {
			return err
		}
		supervision, supervised, err := cluster.ReadSupervision(l)
		if err != nil {
			return err
		}
		supervised = supervised && supervision.PID > 1
		if pid == 0 && !supervised {
			return nil
		}
		if supervised { // first, so that it does not start another one
			if err := send(supervision.PID, s); err != nil {
				return err
			}
		}
		if pid != 0 && !supervised {
			if s == killSignal {
				s = syscall.SIGKILL
			}
			if err := send(pid, s); err != nil {
				return err
			}
		}
		if err := thaw(pid); err != nil && !errors.Is(err, syscall.ESRCH) { // a paused process acts on no other signal
			return fmt.Errorf("stop control plane (process %d): %w", pid, err)
		}
		if gone, err := waitGone(ctx, l); gone || err != nil {
			return err
		}
	}
	return errors.New("stop control plane: it does not end")
}

func send(pid int, s syscall.Signal) error {
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop control plane (process %d): %w", pid, err)
	}
	return nil
}

// waitGone waits until neither the control plane nor its supervisor has a process. It returns false if that takes longer than stopTimeout.
func waitGone(ctx context.Context, l cluster.Layout) (bool, error) {
	err := wait.PollUntilContextTimeout(ctx, pollInterval, stopTimeout, true, func(context.Context) (bool, error) {
		running, err := running(l)
		return !running, err
	})
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, fmt.Errorf("stop control plane: %w", context.Cause(ctx))
	case wait.Interrupted(err):
		return false, nil
	}
	return false, err
}

// stop ends a control plane that this process started, and whose supervisor may not have written its file yet. It sends the
// signals one after another, each when the one before has not ended the supervisor within stopTimeout.
func (p *process) stop(ctx context.Context, signals ...syscall.Signal) error {
	again := time.NewTicker(signalInterval)
	defer again.Stop()
	for _, signal := range signals {
		end := time.NewTimer(stopTimeout)
		defer end.Stop()
		for late := false; !late; {
			select {
			case <-p.exited:
				return nil
			default:
			}
			if err := send(p.pid, signal); err != nil {
				return err
			}
			repeat := again.C
			if signal != killSignal {
				repeat = nil
			}
			select {
			case <-p.exited:
				return nil
			case <-repeat: // a supervisor that has just been started ignores killSignal
			case <-end.C:
				late = true
			case <-ctx.Done():
				return fmt.Errorf("stop control plane (process %d): %w", p.pid, context.Cause(ctx))
			}
		}
	}
	return nil
}

// failure is the error for a control plane that ended: the reason of its first crash, or the one it left behind, else err,
// with the end of its log.
func (u *upRun) failure(err error) *cluster.Error {
	l := u.layout
	e := &cluster.Error{
		Op: "run control plane", Err: err,
		Hint: u.seeLog(l.LogFile(cluster.ControlPlane)),
		Log:  tail(l.LogFile(cluster.ControlPlane)),
	}
	if text := readReason(l); text != "" {
		e.Err = errors.New(text)
	}
	// Later crashes may follow from the first one.
	if s, _, rerr := cluster.ReadSupervision(l); rerr == nil && s.Crashes.First != nil {
		e.Err, e.Log = errors.New(s.Crashes.First.Reason), s.Crashes.First.Log
	}
	return e
}

// readReason returns the reason that the last control plane left for its end; empty if it left none.
func readReason(l cluster.Layout) string {
	data, err := statefile.Read(l.FailedFile())
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
