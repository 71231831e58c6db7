package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// Program is one long-running child.
type Program struct {
	Name   string
	Path   string
	Args   []string // without the program's own name
	Env    []string
	Output *os.File // stdout and stderr
}

// Exit is the end of a child.
type Exit struct {
	PID    int
	Status syscall.WaitStatus
}

// Processes starts, signals and reaps processes.
type Processes interface {
	Start(p Program) (pid int, err error)
	// Signal is kill(2): pid -1 means all other processes; the error is ESRCH if there are none.
	Signal(pid int, sig syscall.Signal) error
	// Exits delivers the end of each child once, including that of orphans.
	Exits() <-chan Exit
}

// Times of restarts and of the stop. The stop must take less than 10 s, after which engines kill the container.
const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 10 * time.Second
	stableAfter  = 10 * time.Second // a program that has run for this long is restarted after firstBackoff again

	stopPrograms = 3 * time.Second // for the last program to end after SIGTERM
	stopPods     = 2 * time.Second // for all others to end after SIGTERM
	stopAll      = 2 * time.Second // for all to end after SIGKILL
	stopPoll     = 20 * time.Millisecond
)

// Supervisor runs programs until the node stops. A program that ends is started again, after a pause that doubles with every
// failure. It never gives up, since a node may have to wait for its control plane for days.
type Supervisor struct {
	Processes Processes
	Programs  []Program // in order of start
	Logger    *slog.Logger
}

// job is a program and its current process.
type job struct {
	Program
	pid     int // 0 if not running
	started time.Time
	backoff time.Duration
}

// Run starts the programs and returns once ctx is done and all other processes have ended. It returns an error only if some
// process did not end.
func (s *Supervisor) Run(ctx context.Context) error {
	jobs := make([]*job, len(s.Programs))
	restarts := make(chan *job)
	for i, p := range s.Programs {
		jobs[i] = &job{Program: p, backoff: firstBackoff}
		s.start(ctx, jobs[i], restarts)
	}
	for {
		select {
		case exit := <-s.Processes.Exits():
			if j := find(jobs, exit.PID); j != nil { // others are orphans, which need nothing more
				s.ended(ctx, j, exit.Status, restarts)
			}
		case j := <-restarts:
			s.start(ctx, j, restarts)
		case <-ctx.Done():
			return s.stop(jobs)
		}
	}
}

func find(jobs []*job, pid int) *job {
	for _, j := range jobs {
		if j.pid == pid && pid != 0 {
			return j
		}
	}
	return nil
}

func (s *Supervisor) start(ctx context.Context, j *job, restarts chan<- *job) {
	pid, err := s.Processes.Start(j.Program)
	if err != nil {
		s.Logger.Error("start program", "program", j.Name, "err", err)
		s.schedule(ctx, j, restarts)
		return
	}
	j.pid, j.started = pid, time.Now()
	s.Logger.Info("started program", "program", j.Name, "pid", pid)
}

func (s *Supervisor) ended(ctx context.Context, j *job, status syscall.WaitStatus, restarts chan<- *job) {
	ran := time.Since(j.started)
	if ran >= stableAfter {
		j.backoff = firstBackoff
	}
	s.Logger.Warn("program ended", "program", j.Name, "pid", j.pid, "status", describe(status), "after", ran, "restart", j.backoff)
	j.pid = 0
	s.schedule(ctx, j, restarts)
}

// schedule sends the job to restarts after its pause.
func (s *Supervisor) schedule(ctx context.Context, j *job, restarts chan<- *job) {
	pause := j.backoff
	j.backoff = min(2*j.backoff, maxBackoff)
	go func() {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		select {
		case restarts <- j:
		case <-ctx.Done():
		}
	}()
}

// stop ends all processes: first the last program, the kubelet's, so that it does not restart the pods that are being stopped;
// then all others, with SIGTERM before SIGKILL.
func (s *Supervisor) stop(jobs []*job) error {
	s.Logger.Info("stopping")
	if n := len(jobs); n > 0 && jobs[n-1].pid != 0 {
		last := jobs[n-1]
		if err := s.Processes.Signal(last.pid, syscall.SIGTERM); err == nil {
			s.await(stopPrograms, func() bool { return last.pid == 0 }, jobs)
		}
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, stopPods}, {syscall.SIGKILL, stopAll}} {
		if err := s.Processes.Signal(-1, step.signal); errors.Is(err, syscall.ESRCH) {
			return nil
		}
		if s.await(step.wait, s.alone, jobs) {
			return nil
		}
	}
	return fmt.Errorf("stop processes: some did not end %s after being killed", stopAll)
}

// alone reports whether no other process is left.
func (s *Supervisor) alone() bool { return errors.Is(s.Processes.Signal(-1, 0), syscall.ESRCH) }

// await reaps until done returns true or the time is over, and reports whether done did.
func (s *Supervisor) await(limit time.Duration, done func() bool, jobs []*job) bool {
	deadline, tick := time.NewTimer(limit), time.NewTicker(stopPoll)
	defer deadline.Stop()
	defer tick.Stop()
	for !done() {
		select {
		case exit := <-s.Processes.Exits():
			if j := find(jobs, exit.PID); j != nil {
				j.pid = 0
			}
		case <-tick.C: // the end of a process that is not our child is not reported
		case <-deadline.C:
			return done()
		}
	}
	return true
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "killed by " + status.Signal().String()
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}
