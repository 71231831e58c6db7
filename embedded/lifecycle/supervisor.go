package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/klkube/kl/cluster"
)

const (
	defaultStopTimeout = 5 * time.Second
	firstDelay         = 100 * time.Millisecond
	maxDelay           = 10 * time.Second
	maxFailures        = 6           // in a row before the supervisor gives up, after about 3 s of pauses
	healthyAfter       = time.Minute // of serving, after which earlier failures are forgotten
)

// Supervisor runs units until its context is done or one of them cannot be kept running.
type Supervisor struct {
	Units  []Unit
	Epoch  time.Time    // when ComponentStatus.Began and Ready are 0; the call of Run if zero
	Logger *slog.Logger // slog.Default() if nil
	// Changed is called with each change of a unit's status, one call at a time; nil is allowed. It must not block.
	Changed func(cluster.ComponentStatus)

	mu    sync.Mutex
	units map[cluster.ComponentName]*unit
}

// unit is the running state of a Unit.
type unit struct {
	Unit
	served   chan struct{} // closed when it is ready for the first time
	returned chan struct{} // closed when it will not run again
	stop     context.CancelFunc
	users    []*unit // the units that need it
	status   cluster.ComponentStatus
	err      error // why it ended; nil after a clean stop. Read after returned is closed.
}

// Run starts the units, restarts those that fail, and stops all in reverse order when ctx is done or one of them cannot be
// restarted. It returns nil after a clean stop because of ctx; otherwise what failed, joined with the names of components
// that did not stop in time. It is called once.
func (s *Supervisor) Run(ctx context.Context) error {
	sorted, err := order(s.Units)
	if err != nil {
		return err
	}
	if s.Epoch.IsZero() {
		s.Epoch = time.Now()
	}
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	s.prepare()

	failed := make(chan error, len(s.Units))
	// The units' contexts outlive ctx, because stopAll ends them one after the other.
	base := context.WithoutCancel(ctx)
	for _, name := range sorted {
		u := s.units[name]
		var run context.Context
		run, u.stop = context.WithCancel(base)
		go func() {
			defer close(u.returned)
			if u.err = s.keep(run, u); u.err != nil {
				failed <- fmt.Errorf("%s: %w", u.name(), u.err)
			}
		}()
	}

	var reason error
	select {
	case <-ctx.Done():
	case reason = <-failed:
		s.Logger.Error("component cannot be restarted, stopping all", "error", reason)
	}
	errs := []error{reason, s.stopAll(sorted)}
	for len(failed) > 0 { // failures while stopping
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

func (s *Supervisor) prepare() {
	s.units = make(map[cluster.ComponentName]*unit, len(s.Units))
	for _, u := range s.Units {
		if u.StopTimeout == 0 {
			u.StopTimeout = defaultStopTimeout
		}
		s.units[u.name()] = &unit{
			Unit: u, served: make(chan struct{}), returned: make(chan struct{}),
			status: cluster.ComponentStatus{Name: u.name(), Needs: u.Needs},
		}
	}
	for _, u := range s.units {
		for _, need := range u.Needs {
			s.units[need].users = append(s.units[need].users, u)
		}
	}
	for _, u := range s.Units {
		s.change(s.units[u.name()], func(c *cluster.ComponentStatus) { c.State = cluster.ComponentWaiting })
	}
}

// keep runs one unit and restarts it after failures until ctx is done (nil) or another restart is not allowed.
func (s *Supervisor) keep(ctx context.Context, u *unit) error {
	for _, need := range u.Needs {
		select {
		case <-s.units[need].served:
		case <-ctx.Done():
			s.change(u, func(c *cluster.ComponentStatus) { c.State = cluster.ComponentStopped })
			return nil
		}
	}
	delay, failures := firstDelay, 0
	for {
		served, err := s.once(ctx, u)
		if ctx.Err() != nil {
			s.change(u, func(c *cluster.ComponentStatus) { c.State, c.Error = cluster.ComponentStopped, text(err) })
			return err
		}
		if served >= healthyAfter {
			delay, failures = firstDelay, 0
		}
		failures++
		if u.Again == nil || failures >= maxFailures && !u.Forever || errors.As(err, new(permanent)) {
			s.change(u, func(c *cluster.ComponentStatus) { c.State, c.Error = cluster.ComponentFailed, err.Error() })
			return err
		}
		s.Logger.Warn("component failed, restarting", "component", u.name(), "error", err, "delay", delay)
		s.change(u, func(c *cluster.ComponentStatus) {
			c.State, c.Error, c.Restarts = cluster.ComponentRestarting, err.Error(), c.Restarts+1
		})
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			s.change(u, func(c *cluster.ComponentStatus) { c.State = cluster.ComponentStopped })
			return nil
		}
		delay = min(2*delay, maxDelay)
		next := u.Again()
		if sameInstance(next, u.Component) {
			err := fmt.Errorf("%w, after: %w", errSameInstance, err)
			s.change(u, func(c *cluster.ComponentStatus) { c.State, c.Error = cluster.ComponentFailed, err.Error() })
			return err
		}
		u.Component = next
	}
}

// once runs the unit's component once and returns for how long it served.
func (s *Supervisor) once(ctx context.Context, u *unit) (served time.Duration, err error) {
	s.change(u, func(c *cluster.ComponentStatus) {
		c.State = cluster.ComponentStarting
		if c.Began == 0 {
			c.Began = time.Since(s.Epoch).Seconds()
		}
	})
	var since time.Time
	var over bool // Run has returned; a later call of ready comes from a goroutine that was left behind
	var reported error
	var mu sync.Mutex
	if r, ok := u.Component.(Reporter); ok {
		r.Report(func(err error) {
			mu.Lock()
			defer mu.Unlock()
			reported = err
			s.change(u, func(c *cluster.ComponentStatus) { c.Error = text(err) })
		})
	}
	err = call(ctx, u.Component, func() {
		mu.Lock()
		defer mu.Unlock()
		if over || !since.IsZero() {
			return
		}
		since = time.Now()
		s.change(u, func(c *cluster.ComponentStatus) {
			c.State, c.Error = cluster.ComponentServing, text(reported)
			if c.Ready == 0 {
				c.Ready = time.Since(s.Epoch).Seconds()
			}
		})
		select {
		case <-u.served:
		default:
			close(u.served)
		}
	})
	mu.Lock()
	defer mu.Unlock()
	over = true
	if !since.IsZero() {
		served = time.Since(since)
	}
	return served, err
}

// stopAll stops each unit once those that need it have returned, and names those that did not return in time.
func (s *Supervisor) stopAll(sorted []cluster.ComponentName) error {
	errs := make([]error, len(sorted))
	gone := make(map[cluster.ComponentName]chan struct{}, len(sorted)) // returned or given up on
	for _, name := range sorted {
		gone[name] = make(chan struct{})
	}
	var wg sync.WaitGroup
	for i, name := range sorted {
		u := s.units[name]
		wg.Go(func() {
			defer close(gone[name])
			for _, user := range u.users {
				<-gone[user.name()]
			}
			u.stop()
			select {
			case <-u.returned:
			case <-time.After(u.StopTimeout):
				errs[i] = fmt.Errorf("stop %s: still running after %s", name, u.StopTimeout)
				s.Logger.Error("component did not stop in time", "component", name, "timeout", u.StopTimeout)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *Supervisor) change(u *unit, edit func(*cluster.ComponentStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := u.status.State
	edit(&u.status)
	if u.status.State != before {
		u.status.Since = time.Now()
	}
	if s.Changed != nil {
		s.Changed(u.status)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
