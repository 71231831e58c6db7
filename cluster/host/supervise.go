package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
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

	spaceInterval = 100 * time.Millisecond // between looks at the free space of a full disk
	maxSpaceDelay = 30 * time.Second       // from a death for lack of space to the next start, although there seems to be some
	roomyAfter    = 10 * time.Second       // of running, after which earlier deaths for lack of space are forgotten
	trimInterval  = 10 * time.Second       // between looks at the length of the log
	probeSize     = 64 << 10               // bytes that are written to see whether there is space
	recordSize    = 32 << 10               // bytes of the supervisor's file, which is as long from the start

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

	spaceDelay time.Duration // from the last death to the next start; zero unless it died for lack of space
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
	go s.keepLogShort(ctx)
	if mend != nil {
		go s.keepMending(ctx, mend)
	}
	if err := s.run(); err != nil {
		s.log.Error("supervise control plane", "error", err)
		return 1
	}
	return 0
}

// keepLogShort bounds the log that this process and the control plane write to.
func (s *supervisor) keepLogShort(ctx context.Context) {
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
	for {
		if err := cluster.TrimLog(s.layout.LogFile(cluster.ControlPlane)); err != nil && !cluster.DiskFull(err) {
			s.log.Error("trim log", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
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
		ran := time.Since(began)
		if s.lackedSpace(crash) {
			s.log.Error("control plane died, and the disk is full", "reason", crash.Reason)
			if stopped, err := s.waitForSpace(crash, ran); stopped || err != nil {
				return errors.Join(err, s.save(cluster.SupervisionStopped))
			}
			continue
		}
		s.spaceDelay = 0
		delay, again := s.count(crash, ran)
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
	return s.pause(delay), nil
}

// pause returns true if the supervisor is told to stop meanwhile.
func (s *supervisor) pause(delay time.Duration) (stopped bool) {
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return false
	case <-s.stop:
	case <-s.kill:
	}
	return true
}

// lackedSpace reports whether the control plane died of a full disk, or would at the next start.
func (s *supervisor) lackedSpace(crash *cluster.Crash) bool {
	for _, cause := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		if strings.Contains(crash.Reason, cause.Error()) {
			return true
		}
	}
	return s.diskFull(cluster.FullDisk)
}

// diskFull reports whether less than so many bytes are free, or this user can have none of them, for want of inodes or because of a quota.
func (s *supervisor) diskFull(need int64) bool {
	if free, err := cluster.DiskFree(s.layout.Dir()); err == nil && free < need {
		return true
	}
	probe := filepath.Join(s.layout.RunDir(), "probe")
	err := statefile.Write(probe, make([]byte, probeSize), 0o600)
	_ = os.Remove(probe) // if it was made; the next one replaces it otherwise
	return cluster.DiskFull(err)
}

// waitForSpace notes a crash that does not count towards giving up, and waits until the disk has free space again. It returns
// true if the supervisor is told to stop meanwhile.
func (s *supervisor) waitForSpace(crash *cluster.Crash, ran time.Duration) (stopped bool, err error) {
	c := &s.state.Crashes
	c.Count, c.Last = c.Count+1, crash
	if c.First == nil {
		c.First = crash
	}
	c.Waiting = fmt.Sprintf("the disk of %s is full: the control plane is started again once %d MB are free", s.layout.Dir(), cluster.MinDisk>>20)
	defer func() { c.Waiting = "" }()
	if ran >= roomyAfter {
		s.spaceDelay = 0
	}
	s.spaceDelay = min(max(2*s.spaceDelay, firstDelay), maxSpaceDelay)
	stopped, err = s.wait(s.spaceDelay)
	for !stopped && err == nil && s.diskFull(cluster.MinDisk) {
		stopped = s.pause(spaceInterval)
	}
	return stopped, err
}

// save writes the state in place and always with the same length, since a control plane may well have died of a full disk. Where even
// that needs space, as with copy on write, the state is not written: supervising goes on.
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
	if _, err := s.lock.File().WriteAt(data, 0); err != nil && !cluster.DiskFull(err) {
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
