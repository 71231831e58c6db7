package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

// journal records what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

// fake is a component that takes delay to serve and linger to stop, and fails with err after life if life is set.
type fake struct {
	name          string
	j             *journal
	delay, linger time.Duration
	life          time.Duration
	err           error
	panics        bool
}

func (f *fake) Name() cluster.ComponentName { return cluster.ComponentName(f.name) }

func (f *fake) Run(ctx context.Context, ready func()) error {
	f.j.note("start %s", f.name)
	select {
	case <-time.After(f.delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	if f.panics {
		panic("boom")
	}
	f.j.note("ready %s", f.name)
	ready()
	var end <-chan time.Time
	if f.life > 0 {
		end = time.After(f.life)
	}
	select {
	case <-end:
		return f.err
	case <-ctx.Done():
		time.Sleep(f.linger) // a component that is slow to stop
		f.j.note("stop %s", f.name)
		return ctx.Err()
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestSupervisorOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := &Supervisor{Logger: quiet(), Units: []Unit{
			{Component: &fake{name: "scheduler", j: &j, delay: 2 * time.Second}, Needs: []cluster.ComponentName{"api"}},
			{Component: &fake{name: "api", j: &j, delay: time.Second}, Needs: []cluster.ComponentName{"etcd"}},
			{Component: &fake{name: "etcd", j: &j, delay: time.Second}},
			{Component: &fake{name: "controllers", j: &j, delay: time.Second, linger: time.Second}, Needs: []cluster.ComponentName{"api"}},
			{Component: &fake{name: "tunnel", j: &j, delay: 100 * time.Millisecond, linger: 5 * time.Millisecond}},
		}}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, cancel)
		if err := s.Run(ctx); err != nil {
			t.Fatalf("Run() = %v, want a clean stop", err)
		}
		got := slices.DeleteFunc(j.all(), func(l string) bool { return strings.HasPrefix(l, "start") })
		want := []string{
			"ready tunnel", "ready etcd", "ready api", "ready controllers", "ready scheduler",
			"stop scheduler", "stop tunnel", "stop controllers", "stop api", "stop etcd",
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("order (-want +got):\n%s", d)
		}
	})
}

func TestSupervisorRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		made := 0
		broken := errors.New("broken pipe")
		var seen atomic.Pointer[cluster.ComponentStatus]
		s := &Supervisor{
			Logger:  quiet(),
			Changed: func(c cluster.ComponentStatus) { seen.Store(&c) },
			Units: []Unit{{
				Component: &fake{name: "api", j: &j, life: time.Second, err: broken},
				Again: func() Component {
					made++
					if made < 3 {
						return &fake{name: "api", j: &j, life: time.Second, err: broken}
					}
					return &fake{name: "api", j: &j, delay: time.Second}
				},
			}},
		}
		begin := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, func() {
			if last := *seen.Load(); last.State != cluster.ComponentServing || last.Restarts != 3 || last.Error != "" {
				t.Errorf("status after three restarts = %+v", last)
			}
			cancel()
		})
		if err := s.Run(ctx); err != nil {
			t.Fatalf("Run() = %v", err)
		}
		if got := time.Since(begin); got != 10*time.Second {
			t.Errorf("Run took %s, want 10s", got)
		}
		if last := *seen.Load(); last.State != cluster.ComponentStopped {
			t.Errorf("last state = %s, want Stopped", last.State)
		}
	})
}

func TestSupervisorFailures(t *testing.T) {
	broken := errors.New("disk full")
	tests := []struct {
		name   string
		unit   func(j *journal) Unit
		want   string
		starts int
	}{
		{
			name:   "no second attempt",
			unit:   func(j *journal) Unit { return Unit{Component: &fake{name: "etcd", j: j, life: 1, err: broken}} },
			want:   "etcd: disk full",
			starts: 1,
		},
		{
			name:   "nil without being asked",
			unit:   func(j *journal) Unit { return Unit{Component: &fake{name: "etcd", j: j, life: 1}} },
			want:   "etcd: returned without being asked to",
			starts: 1,
		},
		{
			name: "attempts used up",
			unit: func(j *journal) Unit {
				make := func() Component { return &fake{name: "etcd", j: j, life: 1, err: broken} }
				return Unit{Component: make(), Again: make}
			},
			want:   "etcd: disk full",
			starts: maxFailures,
		},
		{
			name: "permanent",
			unit: func(j *journal) Unit {
				make := func() Component {
					return &fake{name: "etcd", j: j, life: 1, err: fmt.Errorf("parse flags: %w", Permanent(broken))}
				}
				return Unit{Component: make(), Again: make}
			},
			want:   "etcd: parse flags: disk full",
			starts: 1,
		},
		{
			name: "panic",
			unit: func(j *journal) Unit {
				make := func() Component { return &fake{name: "etcd", j: j, panics: true, delay: time.Second} }
				return Unit{Component: make(), Again: make}
			},
			want:   "etcd: panic in etcd: boom",
			starts: 1,
		},
		{
			name: "the same component again",
			unit: func(j *journal) Unit {
				f := &fake{name: "etcd", j: j, life: 1, err: broken}
				return Unit{Component: f, Again: func() Component { return f }}
			},
			want:   "etcd: cannot restart: Again returned the component that has already run, after: disk full",
			starts: 1,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var j journal
				other := &fake{name: "tunnel", j: &j}
				s := &Supervisor{Logger: quiet(), Units: []Unit{tt.unit(&j), {Component: other}}}
				err := s.Run(t.Context())
				if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
					t.Fatalf("Run() = %v, want %q", err, tt.want)
				}
				starts := 0
				for _, l := range j.all() {
					if l == "start etcd" {
						starts++
					}
				}
				if starts != tt.starts {
					t.Errorf("started %d times, want %d", starts, tt.starts)
				}
				if !slices.Contains(j.all(), "stop tunnel") {
					t.Errorf("the other component was not stopped: %q", j.all())
				}
			})
		})
	}
}

// A unit that the others can do without never ends them.
func TestSupervisorForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		make := func() Component {
			return &fake{name: "metrics", j: &j, life: 1, err: errors.New("refused by a webhook")}
		}
		other := &fake{name: "etcd", j: &j}
		s := &Supervisor{Logger: quiet(), Units: []Unit{{Component: make(), Again: make, Forever: true}, {Component: other}}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*maxFailures*maxDelay)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run() = %v, want a clean stop", err)
		}
		starts := 0
		for _, l := range j.all() {
			if l == "start metrics" {
				starts++
			}
		}
		if starts <= maxFailures {
			t.Errorf("started %d times, want more than %d", starts, maxFailures)
		}
	})
}

// The failure count starts from zero once a unit has served for healthyAfter.
func TestSupervisorResetsFailureCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		make := func() Component { return &fake{name: "api", j: &j, life: healthyAfter, err: errors.New("timeout")} }
		restarts := 0
		s := &Supervisor{Logger: quiet(), Units: []Unit{{Component: make(), Again: make}},
			Changed: func(c cluster.ComponentStatus) { restarts = c.Restarts }}
		ctx, cancel := context.WithTimeout(t.Context(), 2*maxFailures*healthyAfter)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Fatalf("Run() = %v, want nil", err)
		}
		if restarts <= maxFailures {
			t.Errorf("restarts = %d, want more than %d", restarts, maxFailures)
		}
	})
}

func TestSupervisorNamesWhatDoesNotStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		s := &Supervisor{Logger: quiet(), Units: []Unit{
			{Component: &fake{name: "etcd", j: &j}},
			{Component: &fake{name: "api", j: &j, linger: time.Hour}, Needs: []cluster.ComponentName{"etcd"}, StopTimeout: 3 * time.Second},
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		err := s.Run(ctx)
		if err == nil || err.Error() != "stop api: still running after 3s" {
			t.Errorf("Run() = %v", err)
		}
		if got := time.Since(begin); got != 4*time.Second {
			t.Errorf("stop took until %s, want 4s", got)
		}
		if !slices.Contains(j.all(), "stop etcd") {
			t.Error("etcd was not stopped after the component that outlived its timeout")
		}
		time.Sleep(time.Hour) // synctest: let the leftover goroutine end
	})
}

func TestOrder(t *testing.T) {
	unit := func(name string, needs ...cluster.ComponentName) Unit {
		return Unit{Component: &fake{name: name}, Needs: needs}
	}
	tests := []struct {
		name  string
		units []Unit
		want  []cluster.ComponentName
		err   string
	}{
		{"diamond", []Unit{unit("d", "b", "c"), unit("b", "a"), unit("c", "a"), unit("a")}, []cluster.ComponentName{"a", "b", "c", "d"}, ""},
		{"twice", []Unit{unit("a"), unit("a")}, nil, "component a is listed twice"},
		{"unknown", []Unit{unit("a", "b")}, nil, "component a needs b, which does not exist"},
		{"cycle", []Unit{unit("a", "b"), unit("b", "a")}, nil, "component a needs itself through b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := order(tt.units)
			if text(err) != tt.err {
				t.Fatalf("order() error = %v, want %q", err, tt.err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("order (-want +got):\n%s", d)
			}
		})
	}
}
