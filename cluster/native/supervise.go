//go:build linux

package native

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

const (
	startWatch  = 250 * time.Millisecond // a node that ends this soon after its start counts as failed
	stopTimeout = 20 * time.Second       // for a node to shut down before it is killed
	minBackOff  = 100 * time.Millisecond
	maxBackOff  = 10 * time.Second
)

// reportFD is the pipe on which a supervisor reports to its parent how the first start went: one line of JSON.
const reportFD = 3

type report struct {
	Error      string   `json:"error,omitempty"`
	Log        []string `json:"log,omitempty"`
	Supervised bool     `json:"supervised,omitempty"` // by another process
}

var errSupervised = errors.New("the node already has a supervisor")

// supervisor keeps one node running. It has a mount namespace of its own.
type supervisor struct {
	bundle
	record
	log        *slog.Logger
	startWatch time.Duration
	parent     io.WriteCloser // nil once the report is made
	mounted    bool           // the node's root file system
}

// Supervise keeps the node in dir running until the node is stopped, or until ctx ends: then it shuts the node down. It is
// all that the process started by the driver does, see [SuperviseCommand]; the result is the exit code.
func Supervise(ctx context.Context, dir string) int { return supervise(ctx, dir, startWatch) }

func supervise(ctx context.Context, dir string, startWatch time.Duration) int {
	s := &supervisor{
		bundle: bundle{dir}, startWatch: startWatch, parent: os.NewFile(reportFD, "report"),
		log: slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", dir),
	}
	unix.CloseOnExec(reportFD)
	if err := s.run(ctx); err != nil {
		s.log.Error("supervise node", "error", err)
		s.report(err)
		return 1
	}
	return 0
}

// report sends the report, once. Errors are ignored: the parent may have ended, and the node runs on all the same.
func (s *supervisor) report(err error) {
	if s.parent == nil {
		return
	}
	var r report
	if err != nil {
		r.Error, r.Supervised = err.Error(), errors.Is(err, errSupervised)
		var explained *cluster.Error
		if errors.As(err, &explained) {
			r.Log = explained.Log
		}
	}
	_ = json.NewEncoder(s.parent).Encode(r)
	_ = s.parent.Close()
	s.parent = nil
}

func (s *supervisor) run(ctx context.Context) error {
	err := s.claim()
	if err != nil {
		return err
	}
	if s.record, err = s.read(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil { // runc exits, and the node's init becomes our child
		return fmt.Errorf("become the parent of the node: %w", err)
	}
	closePorts, err := publish(ctx, s.Spec.Ports, s.Addr)
	if err != nil {
		return err
	}
	defer closePorts()
	go s.keepLogsShort(ctx)
	return s.keepRunning(ctx)
}

// trimInterval is the time between two looks at the length of the logs.
const trimInterval = time.Minute

// keepLogsShort bounds the logs that this process and the node's init write to.
func (s *supervisor) keepLogsShort(ctx context.Context) {
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	for {
		for _, path := range []string{s.console(), s.supervisorLog()} {
			if err := cluster.TrimLog(path); err != nil && !cluster.DiskFull(err) {
				s.log.Error("trim log", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// claim makes this process the node's only supervisor until the process ends.
func (s *supervisor) claim() error {
	lock, err := statefile.Claim(s.supervisorLock())
	if errors.Is(err, statefile.ErrLocked) {
		return errSupervised
	}
	if err != nil {
		return fmt.Errorf("claim node: %w", err)
	}
	// The lock belongs to every duplicate of the descriptor. This one is never closed: whoever gets the lock may rely on
	// the process being gone.
	if _, err := unix.FcntlInt(lock.File().Fd(), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return fmt.Errorf("claim node: %w", err)
	}
	return nil
}

// keepRunning restarts the node, with back-off, whenever it ends, until it is stopped.
func (s *supervisor) keepRunning(ctx context.Context) error {
	for backOff := minBackOff; ; backOff = min(2*backOff, maxBackOff) {
		if s.isOff() || ctx.Err() != nil {
			return nil
		}
		began := time.Now()
		err := s.runOnce(ctx)
		if first := s.parent != nil; first {
			return err
		}
		if s.isOff() || ctx.Err() != nil {
			return nil
		}
		s.log.Warn("node ended", "error", err)
		if time.Since(began) > maxBackOff {
			backOff = minBackOff
		}
		// Stop and Kill cannot signal the supervisor, so it looks for their mark. The timeout is how the wait usually ends.
		_ = wait.PollUntilContextTimeout(ctx, pollInterval, backOff, true, func(context.Context) (bool, error) { return s.isOff(), nil })
	}
}

func (s *supervisor) isOff() bool {
	_, err := os.Stat(s.offFile())
	return err == nil
}

// runOnce runs the node once, from creating its container to removing what is left of it. A node that runs already, since
// its previous supervisor was killed, is taken over.
func (s *supervisor) runOnce(ctx context.Context) error {
	c, err := s.record.runc(s.scope()).container(s.name())
	if err != nil {
		return err
	}
	pid := c.PID
	if adopted := c.Status == "running" || c.Status == "paused"; adopted {
		s.log.Info("took over a node that runs", "pid", pid)
		err = s.watch(ctx, pid, waitForOther(pid)) //nolint:contextcheck // it is watched as long as it runs
	} else if pid, err = s.boot(ctx); err == nil {
		err = s.watch(ctx, pid, waitFor(pid))
	} else if pid > 0 {
		_ = unix.Kill(pid, unix.SIGKILL)
		<-waitFor(pid)
	}
	undo, cancel := detach(ctx)
	defer cancel()
	return errors.Join(err, s.record.runc(s.scope()).remove(undo, s.name()), s.scope().disconnect(s.name()))
}

// boot creates the container, connects it to the bridge and starts it. pid is the node's init as soon as there is one.
func (s *supervisor) boot(ctx context.Context) (pid int, err error) {
	// Not earlier: mounting an overlay empties its work directory, which a node that is taken over still uses.
	if !s.mounted {
		if err := s.mountRoot(); err != nil {
			return 0, err
		}
		s.mounted = true
	}
	sc, r := s.scope(), s.record.runc(s.scope())
	lock, err := lockMachine(ctx)
	if err != nil {
		return 0, err
	}
	err = errors.Join(delegateCgroup(cgroupRoot, writeFile), sc.ensureNetwork(s.Subnet))
	lock.Unlock()
	if err != nil {
		return 0, err
	}
	if err := r.remove(ctx, s.name()); err != nil {
		return 0, err
	}
	if err := s.writeEtc(); err != nil {
		return 0, err
	}
	if pid, err = s.createContainer(ctx, r); err != nil {
		return pid, err
	}
	if err := sc.connect(s.name(), pid, s.Addr, s.Subnet); err != nil {
		return pid, err
	}
	if s.isOff() {
		return pid, errors.New("the node was stopped while it started")
	}
	err = r.run(ctx, "start", s.name())
	return pid, err
}

// createContainer runs `runc create`. The output of the container, and runc's own errors, go to the console log.
func (s *supervisor) createContainer(ctx context.Context, r runc) (pid int, err error) {
	console, err := statefile.OpenLog(s.console(), 0o600)
	if err != nil {
		return 0, fmt.Errorf("open the console log: %w", err)
	}
	defer console.Close()
	before, err := console.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("open the console log: %w", err)
	}
	cmd := r.command(ctx, "create", "--bundle", s.dir, "--pid-file", s.pidFile(), s.name())
	cmd.Stdout, cmd.Stderr = console, console
	if err := cmd.Run(); err != nil {
		message, _ := io.ReadAll(io.NewSectionReader(console, before, 4<<10))
		var exit *exec.ExitError
		if text := strings.TrimSpace(string(message)); errors.As(err, &exit) && text != "" {
			err = errors.New(text)
		}
		return 0, fmt.Errorf("create container: %w", err)
	}
	text, err := statefile.Read(s.pidFile())
	if err == nil {
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		return 0, fmt.Errorf("read the node's process ID: %w", err)
	}
	return pid, nil
}

// watch waits until a running node ends, whose exit code comes from ended. The first time, it reports success after startWatch. When ctx ends, it shuts the
// node down.
func (s *supervisor) watch(ctx context.Context, pid int, ended <-chan int) error {
	if s.parent != nil {
		t := time.NewTimer(s.startWatch)
		defer t.Stop()
		select {
		case code := <-ended:
			return &cluster.Error{Op: "start node", Err: fmt.Errorf("the node's init ended at once with exit code %d", code), Log: s.lastLines()}
		case <-t.C:
			s.report(nil)
		case <-ctx.Done():
		}
	}
	select {
	case code := <-ended:
		return fmt.Errorf("the node's init ended with exit code %d", code)
	case <-ctx.Done(): // most likely the machine is shutting down
	}
	_ = unix.Kill(pid, unix.SIGTERM)
	t := time.NewTimer(stopTimeout)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C:
		_ = unix.Kill(pid, unix.SIGKILL)
		<-ended
	}
	return ctx.Err()
}

// waitFor reaps a child and sends its exit code; 128 and the signal's number if a signal ended it.
func waitFor(pid int) <-chan int {
	ended := make(chan int, 1)
	go func() {
		for {
			var status unix.WaitStatus
			_, err := unix.Wait4(pid, &status, 0, nil)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if status.Signaled() {
				ended <- 128 + int(status.Signal())
			} else {
				ended <- status.ExitStatus()
			}
			return
		}
	}()
	return ended
}

// waitForOther is waitFor for a process that is no child: its exit code is unknown and sent as -1.
func waitForOther(pid int) <-chan int {
	ended := make(chan int, 1)
	go func() {
		_ = waitExit(context.Background(), pid) // an error means that it cannot be watched, which is as good as gone
		ended <- -1
	}()
	return ended
}
