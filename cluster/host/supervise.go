package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// SuperviseCommand is the first argument of the process that keeps a control plane running; the second one is the cluster's
// directory, the third one the engine. A program that uses a Host, or Host.Supervisor, passes them on:
//
//	if len(os.Args) == 4 && os.Args[1] == host.SuperviseCommand {
//		os.Exit(host.Supervise(os.Args[2], os.Args[3], nil))
//	}
const SuperviseCommand = "supervise-control-plane"

const (
	maxCrashes   = 5 // in a row, before the control plane stays down
	firstDelay   = 250 * time.Millisecond
	healthyAfter = 30 * time.Second // of running, after which earlier crashes are forgotten
	mendInterval = 3 * time.Second

	spaceInterval = time.Second // between looks at the free space of a full disk
	minFree       = 16 << 20    // bytes that a control plane needs on its disk
	recordSize    = 32 << 10    // bytes of the supervisor's file, which is as long from the start

	// killSignal makes a supervisor kill the control plane instead of stopping it.
	killSignal = syscall.SIGUSR1
)

// supervisor keeps one control plane running.
type supervisor struct {
	layout cluster.Layout
	engine string
	log    *slog.Logger
	lock   *statefile.Lock
	state  cluster.Supervision

	stop, kill <-chan os.Signal
	stopMend   context.CancelFunc
}

// Supervise runs the control plane of the cluster in dir and starts it again when it dies, until it is told to stop by
// SIGTERM, or until the control plane dies too often. Every few seconds it calls mend, which may be nil, to replace processes of the
// cluster's nodes that were killed. The result is the exit code. If this process is killed, the kernel kills
// the control plane. It must be called from main, since the kernel takes the end of a thread for the end of the parent.
func Supervise(dir, engine string, mend func(context.Context, cluster.Layout) error) int {
	runtime.LockOSThread()
	signal.Ignore(syscall.SIGHUP) // of a terminal that is closed
	stop, kill := make(chan os.Signal, 2), make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(kill, killSignal)
	s := &supervisor{
		layout: cluster.Home(filepath.Dir(filepath.Dir(dir))).Cluster(filepath.Base(dir)), engine: engine,
		log: slog.New(slog.NewTextHandler(os.Stderr, nil)), stop: stop, kill: kill,
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.stopMend = cancel
	if mend != nil {
		go s.keepMending(ctx, mend)
	}
	if err := s.run(); err != nil {
		s.log.Error("supervise control plane", "error", err)
		return 1
	}
	return 0
}

func (s *supervisor) keepMending(ctx context.Context, mend func(context.Context, cluster.Layout) error) {
	tick := time.NewTicker(mendInterval)
	defer tick.Stop()
	for last := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		text := ""
		if err := mend(ctx, s.layout); err != nil {
			text = err.Error()
		}
		if text != last && text != "" { // once, not every few seconds
			s.log.Error("mend nodes", "error", text)
		}
		last = text
	}
}

func (s *supervisor) run() error {
	lock, err := statefile.Claim(s.layout.SupervisorFile())
	if errors.Is(err, statefile.ErrLocked) {
		return errors.New("the control plane already has a supervisor")
	}
	if err != nil {
		return fmt.Errorf("claim control plane: %w", err)
	}
	s.lock = lock // given back when the process ends
	s.state = cluster.Supervision{PID: os.Getpid(), Boot: cluster.BootID()}
	for {
		if err := s.save(cluster.SupervisionRunning); err != nil {
			return err
		}
		began := time.Now()
		crash, err := s.once()
		if err != nil {
			return errors.Join(err, s.save(cluster.SupervisionGaveUp))
		}
		if crash == nil {
			return s.save(cluster.SupervisionStopped)
		}
		if free(s.layout.Dir()) < minFree { // it died of that, or would
			s.log.Error("control plane died, and the disk is full", "reason", crash.Reason)
			if stopped, err := s.waitForSpace(crash); stopped || err != nil {
				return errors.Join(err, s.save(cluster.SupervisionStopped))
			}
			continue
		}
		delay, again := s.count(crash, time.Since(began))
		if !again {
			s.log.Error("control plane died too often, it stays down", "reason", crash.Reason, "crashes", s.state.Crashes.InARow)
			return errors.Join(errors.New(crash.Reason), s.save(cluster.SupervisionGaveUp))
		}
		s.log.Error("control plane died", "reason", crash.Reason, "crashes", s.state.Crashes.Count, "again-in", delay)
		if stopped, err := s.wait(delay); stopped || err != nil {
			return errors.Join(err, s.save(cluster.SupervisionStopped))
		}
	}
}

// once runs the control plane until it ends. The crash is nil if it ended because it was told to.
func (s *supervisor) once() (*cluster.Crash, error) {
	// What the previous process left must not be taken for this one's.
	for _, stale := range []string{s.layout.FailedFile(), s.layout.StatusSocket()} {
		if err := os.Remove(stale); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	e := newEvidence(s.layout)
	cmd := exec.CommandContext(context.Background(), s.engine, string(cluster.ControlPlane), "--dir", s.layout.Dir())
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.layout.Dir(), os.Stdout, os.Stderr, endsWithParent()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start control plane: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	asked := false
	for {
		select {
		case err := <-ended:
			if err == nil || asked {
				return nil, nil //nolint:nilnil // no crash
			}
			return e.crash(err), nil
		case <-s.stop:
			asked = true
			s.noteStopping()
			s.stopMend()                            // nodes may be ending, too, with the machine
			_ = cmd.Process.Signal(syscall.SIGTERM) // fails if the process has just ended
		case <-s.kill:
			asked = true
			s.noteStopping()
			s.stopMend()
			_ = cmd.Process.Kill()
		}
	}
}

// noteStopping tells a command that comes now not to rely on the control plane.
func (s *supervisor) noteStopping() {
	if err := s.save(cluster.SupervisionStopping); err != nil {
		s.log.Error("note that the control plane is stopping", "error", err)
	}
}

// count notes a crash after that time of running. It returns the pause before the next start, and whether there is one.
func (s *supervisor) count(crash *cluster.Crash, ran time.Duration) (delay time.Duration, again bool) {
	c := &s.state.Crashes
	if ran >= healthyAfter {
		c.InARow = 0
	}
	if c.InARow == 0 {
		c.First = crash
	}
	c.Count, c.InARow, c.Last = c.Count+1, c.InARow+1, crash
	delay = firstDelay << (c.InARow - 1)
	return delay, c.InARow < maxCrashes
}

// wait pauses before the next start. It returns true if the supervisor is told to stop meanwhile.
func (s *supervisor) wait(delay time.Duration) (stopped bool, err error) {
	s.state.Crashes.Next = time.Now().Add(delay)
	defer func() { s.state.Crashes.Next = time.Time{} }()
	if err := s.save(cluster.SupervisionWaiting); err != nil {
		return false, err
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return false, nil
	case <-s.stop:
	case <-s.kill:
	}
	return true, nil
}

// waitForSpace notes a crash that does not count towards giving up, and waits until the disk has free space again. It returns
// true if the supervisor is told to stop meanwhile.
func (s *supervisor) waitForSpace(crash *cluster.Crash) (stopped bool, err error) {
	c := &s.state.Crashes
	c.Count, c.Last = c.Count+1, crash
	if c.First == nil {
		c.First = crash
	}
	c.Waiting = fmt.Sprintf("the disk of %s has %d MB free", s.layout.Dir(), minFree>>20)
	defer func() { c.Waiting = "" }()
	for free(s.layout.Dir()) < minFree {
		if stopped, err := s.wait(spaceInterval); stopped || err != nil {
			return stopped, err
		}
	}
	return false, nil
}

// free returns how many bytes this user can still write to the file system of a directory; a lot if that is unknown.
func free(dir string) uint64 {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return math.MaxUint64
	}
	return s.Bavail * uint64(s.Bsize)
}

// save writes the state in place and always with the same length, since a control plane may well have died of a full disk.
func (s *supervisor) save(state cluster.SupervisionState) error {
	s.state.State = state
	data, err := json.Marshal(s.state)
	if err == nil && len(data) > recordSize {
		short := s.state
		short.Crashes.First, short.Crashes.Last = withoutLog(short.Crashes.First), withoutLog(short.Crashes.Last)
		data, err = json.Marshal(short)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", s.layout.SupervisorFile(), err)
	}
	for len(data) < recordSize {
		data = append(data, '\n')
	}
	if _, err := s.lock.File().WriteAt(data, 0); err != nil {
		return fmt.Errorf("write %s: %w", s.layout.SupervisorFile(), err)
	}
	return nil
}

func withoutLog(c *cluster.Crash) *cluster.Crash {
	if c == nil {
		return nil
	}
	return &cluster.Crash{Time: c.Time, Reason: c.Reason}
}
