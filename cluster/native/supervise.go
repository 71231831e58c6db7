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
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klkube/kl/cluster"
)

const (
	grace       = 250 * time.Millisecond // how long a new node is watched for an early end
	stopTimeout = 20 * time.Second       // how long a node has to end its pods before it is killed
	minBackOff  = 100 * time.Millisecond
	maxBackOff  = 10 * time.Second
)

// reportFD is where a supervisor tells its parent how the first start went: one line of JSON.
const reportFD = 3

type report struct {
	Error string   `json:"error,omitempty"`
	Log   []string `json:"log,omitempty"`
}

// supervisor keeps one node going. It runs in a mount namespace of its own.
type supervisor struct {
	bundle
	record
	log    *slog.Logger
	parent io.WriteCloser // nil once the report is made
}

// Supervise keeps the node in dir going until it is turned off, or until ctx ends: then it ends the node too. It is the
// whole of a process that the driver started, see [SuperviseCommand]; the result is the exit code.
func Supervise(ctx context.Context, dir string) int {
	s := &supervisor{
		bundle: bundle{dir}, parent: os.NewFile(reportFD, "report"),
		log: slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", dir),
	}
	unix.CloseOnExec(reportFD)
	if err := s.run(ctx); err != nil {
		s.log.Error("supervise node", "error", err)
		s.tell(err)
		return 1
	}
	return 0
}

// tell makes the report, once. The parent may be gone: the node lives on all the same.
func (s *supervisor) tell(err error) {
	if s.parent == nil {
		return
	}
	var r report
	if err != nil {
		r.Error = err.Error()
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
	if err := s.mountRoot(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil { // runc leaves, its child becomes ours
		return fmt.Errorf("become the parent of the node: %w", err)
	}
	wait, err := publish(ctx, s.Spec.Ports, s.Addr)
	if err != nil {
		return err
	}
	defer wait()
	return s.keep(ctx)
}

// claim makes this process the node's only supervisor, until the very end of the process.
func (s *supervisor) claim() error {
	fd, err := syscall.Open(s.guard(), syscall.O_CREAT|syscall.O_WRONLY|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("claim node: %w", err)
	}
	if err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Join(errors.New("another supervisor has the node"), syscall.Close(fd))
	}
	return nil
}

// keep starts the node again and again until it is turned off.
func (s *supervisor) keep(ctx context.Context) error {
	for backOff := minBackOff; ; backOff = min(2*backOff, maxBackOff) {
		if s.isOff() || ctx.Err() != nil {
			return nil
		}
		began := time.Now()
		err := s.live(ctx)
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
		wait, cancel := context.WithTimeout(ctx, backOff)
		_ = poll(wait, func() (bool, error) { return s.isOff(), nil }) // its end is that of the wait
		cancel()
	}
}

func (s *supervisor) isOff() bool {
	_, err := os.Stat(s.offFile())
	return err == nil
}

// live is one life of the node, from making its container to removing what is left of it.
func (s *supervisor) live(ctx context.Context) error {
	pid, err := s.boot(ctx)
	if err == nil {
		err = s.watch(ctx, pid)
	} else if pid > 0 {
		_ = unix.Kill(pid, unix.SIGKILL)
		<-waitFor(pid)
	}
	undo, cancel := detach(ctx)
	defer cancel()
	return errors.Join(err, s.record.runc(s.scope()).forget(undo, s.name()), removeLink(s.scope().veth(s.name())))
}

// boot makes the container, plugs it in, and lets it run. pid is that of the node's init as soon as there is one.
func (s *supervisor) boot(ctx context.Context) (pid int, err error) {
	sc, r := s.scope(), s.record.runc(s.scope())
	unlock, err := lockMade(ctx, runDir)
	if err != nil {
		return 0, err
	}
	err = errors.Join(delegateCgroup(cgroupRoot, writeFile), sc.ensureNetwork(s.Subnet))
	unlock()
	if err != nil {
		return 0, err
	}
	if err := r.forget(ctx, s.name()); err != nil {
		return 0, err
	}
	if err := s.writeEtc(); err != nil {
		return 0, err
	}
	if pid, err = s.createContainer(ctx, r); err != nil {
		return pid, err
	}
	if err := sc.plug(s.name(), pid, s.Addr, s.Subnet); err != nil {
		return pid, err
	}
	if s.isOff() {
		return pid, errors.New("the node was turned off while it started")
	}
	_, err = r.run(ctx, "start", s.name())
	return pid, err
}

// createContainer runs runc create. The container's output, and runc's own complaint, go to the console's log.
func (s *supervisor) createContainer(ctx context.Context, r runc) (pid int, err error) {
	if info, err := os.Stat(s.console()); err == nil && info.Size() > 1<<20 {
		_ = os.Remove(s.console()) // of earlier lives
	}
	console, err := os.OpenFile(s.console(), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return 0, fmt.Errorf("open the console's log: %w", err)
	}
	defer console.Close()
	before, err := console.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("open the console's log: %w", err)
	}
	cmd := r.command(ctx, "create", "--bundle", s.dir, "--pid-file", s.pidFile(), s.name())
	cmd.Stdout, cmd.Stderr = console, console
	if err := cmd.Run(); err != nil {
		complaint, _ := io.ReadAll(io.NewSectionReader(console, before, 4<<10))
		var exit *exec.ExitError
		if text := strings.TrimSpace(string(complaint)); errors.As(err, &exit) && text != "" {
			err = errors.New(text)
		}
		return 0, fmt.Errorf("create container: %w", err)
	}
	text, err := os.ReadFile(s.pidFile())
	if err == nil {
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		return 0, fmt.Errorf("read the node's process ID: %w", err)
	}
	return pid, nil
}

// watch waits for the end of a running node. The first time, it makes the report once the node has lived a moment.
func (s *supervisor) watch(ctx context.Context, pid int) error {
	ended := waitFor(pid)
	if s.parent != nil {
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case code := <-ended:
			return &cluster.Error{Op: "start node", Err: fmt.Errorf("its init ended at once with exit code %d", code), Log: s.lastLines()}
		case <-t.C:
			s.tell(nil)
		case <-ctx.Done():
		}
	}
	select {
	case code := <-ended:
		return fmt.Errorf("its init ended with exit code %d", code)
	case <-ctx.Done(): // the machine is going down, most likely
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

// waitFor reaps a child and sends its exit code.
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
