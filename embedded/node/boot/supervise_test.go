package boot

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeProcesses is a fake machine. The supervisor is PID 1 and not among its processes.
type fakeProcesses struct {
	exits chan Exit
	begin time.Time

	mu       sync.Mutex
	next     int
	alive    map[int]string  // pid → name
	ignore   map[string]bool // processes that ignore SIGTERM, by name
	journal  []string
	startErr error
}

func newFakeProcesses() *fakeProcesses {
	return &fakeProcesses{
		exits: make(chan Exit, 1000), begin: time.Now(), next: 100, alive: map[int]string{}, ignore: map[string]bool{},
	}
}

func (f *fakeProcesses) note(format string, args ...any) {
	at := time.Since(f.begin).Round(time.Millisecond)
	f.journal = append(f.journal, fmt.Sprintf("%s ", at)+fmt.Sprintf(format, args...))
}

func (f *fakeProcesses) Exits() <-chan Exit { return f.exits }

func (f *fakeProcesses) Start(p Program) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.startErr != nil {
		f.note("cannot start %s", p.Name)
		return 0, f.startErr
	}
	f.next++
	f.alive[f.next] = p.Name
	f.note("start %s", p.Name)
	return f.next, nil
}

func (f *fakeProcesses) Signal(pid int, sig syscall.Signal) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if pid == -1 && len(f.alive) == 0 {
		return syscall.ESRCH
	}
	if sig != 0 {
		who := "all"
		if pid != -1 {
			who = f.alive[pid]
		}
		f.note("%s to %s", sig, who)
	}
	for p, name := range f.alive {
		if (pid == -1 || p == pid) && (sig == syscall.SIGKILL || sig == syscall.SIGTERM && !f.ignore[name]) {
			f.end(p, syscall.WaitStatus(sig))
		}
	}
	return nil
}

// end ends a process and queues its exit for the supervisor. f.mu is held.
func (f *fakeProcesses) end(pid int, status syscall.WaitStatus) {
	delete(f.alive, pid)
	f.exits <- Exit{PID: pid, Status: status}
}

// crash ends the named process with an exit code.
func (f *fakeProcesses) crash(name string, code int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for pid, n := range f.alive {
		if n == name {
			f.note("crash %s", name)
			f.end(pid, syscall.WaitStatus(code<<8))
		}
	}
}

// orphan adds a process that the supervisor did not start.
func (f *fakeProcesses) orphan(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	f.alive[f.next] = name
}

func (f *fakeProcesses) drain() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	lines := f.journal
	f.journal = nil
	return lines
}

// supervise runs a supervisor with the fake; stop ends it and returns Run's error.
func supervise(t *testing.T, f *fakeProcesses) (stop func() error) {
	s := Supervisor{
		Processes: f, Programs: []Program{{Name: "containerd"}, {Name: "node"}}, Logger: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- s.Run(ctx) }()
	synctest.Wait()
	return func() error { cancel(); return <-result }
}

func expect(t *testing.T, f *fakeProcesses, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, f.drain()); diff != "" {
		t.Error(diff)
	}
}

func TestRestartWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProcesses()
		stop := supervise(t, f)
		expect(t, f, "0s start containerd", "0s start node")
		for _, pause := range []time.Duration{
			100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond,
			1600 * time.Millisecond, 3200 * time.Millisecond, 6400 * time.Millisecond, maxBackoff, maxBackoff,
		} {
			f.begin = time.Now()
			f.crash("node", 1)
			time.Sleep(pause + time.Millisecond)
			expect(t, f, "0s crash node", fmt.Sprintf("%s start node", pause))
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestBackoffIsResetForAStableProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProcesses()
		stop := supervise(t, f)
		f.crash("node", 1)
		time.Sleep(time.Second)
		f.crash("node", 1)
		time.Sleep(time.Hour)
		f.crash("node", 1)
		time.Sleep(time.Second)
		expect(t, f, "0s start containerd", "0s start node", "0s crash node", "100ms start node", "1s crash node",
			"1.2s start node", "1h0m1s crash node", "1h0m1.1s start node")
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestProgramThatCannotStartIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProcesses()
		f.startErr = syscall.ENOENT
		stop := supervise(t, f)
		time.Sleep(250 * time.Millisecond)
		f.mu.Lock()
		f.startErr = nil
		f.mu.Unlock()
		time.Sleep(time.Second)
		got := f.drain()
		slices.Sort(got)
		want := []string{
			"0s cannot start containerd", "0s cannot start node", "100ms cannot start containerd", "100ms cannot start node",
			"300ms start containerd", "300ms start node",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestOrphansAreReapedAndIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProcesses()
		stop := supervise(t, f)
		f.drain()
		for range 100 {
			f.orphan("shim")
		}
		f.crash("shim", 0)
		synctest.Wait()
		if n := len(f.exits); n > 0 {
			t.Errorf("%d exits were not received", n)
		}
		time.Sleep(time.Minute)
		for _, line := range f.drain() {
			if line != "0s crash shim" {
				t.Errorf("unexpected %q", line)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name     string
		stubborn []string // ignore SIGTERM
		orphans  []string
		want     []string
	}{
		{"nothing else runs", nil, nil, []string{"0s terminated to node", "0s terminated to all"}},
		{"pods end when asked", nil, []string{"shim", "pod"}, []string{"0s terminated to node", "0s terminated to all"}},
		{"a pod ignores SIGTERM", []string{"pod"}, []string{"pod"},
			[]string{"0s terminated to node", "0s terminated to all", "2s killed to all"}},
		{"the kubelet ignores SIGTERM", []string{"node"}, nil,
			[]string{"0s terminated to node", "3s terminated to all", "5s killed to all"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeProcesses()
				for _, name := range tt.stubborn {
					f.ignore[name] = true
				}
				stop := supervise(t, f)
				for _, name := range tt.orphans {
					f.orphan(name)
				}
				f.drain()
				if err := stop(); err != nil {
					t.Error(err)
				}
				expect(t, f, tt.want...)
				if len(f.alive) > 0 {
					t.Errorf("still running: %v", f.alive)
				}
				if took := time.Since(f.begin); took > 8*time.Second {
					t.Errorf("took %s, engines grant 10s", took)
				}
			})
		})
	}
}

func TestStopDuringBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeProcesses()
		stop := supervise(t, f)
		f.crash("node", 1)
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		expect(t, f, "0s start containerd", "0s start node", "0s crash node", "0s terminated to all")
	})
}
