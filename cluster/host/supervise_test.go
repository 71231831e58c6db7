package host_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
)

// eventually waits until Inspect returns what ok accepts.
func (b *bench) eventually(t *testing.T, what string, ok func(host.Info) bool) host.Info {
	t.Helper()
	var info host.Info
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		var err error
		info, err = b.Inspect(ctx, "demo")
		return err == nil && ok(info), err
	})
	if err != nil {
		t.Fatalf("%s: %v: %+v, crashes %+v", what, err, info, info.Crashes)
	}
	return info
}

func supervisorPID(t *testing.T, b *bench) int {
	t.Helper()
	s, alive, err := cluster.ReadSupervision(b.Home.Cluster("demo"))
	if err != nil || !alive || s.PID <= 1 {
		t.Fatalf("supervisor is %+v, %t, %v", s, alive, err)
	}
	return s.PID
}

func TestADeadControlPlaneIsStartedAgain(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	first, supervisor := planePID(t, b), supervisorPID(t, b)
	must(t, syscall.Kill(supervisor, syscall.SIGHUP)) // as the end of a terminal does
	for n := 1; n <= 2; n++ {
		kill(t, b, planePID(t, b))
		info := b.eventually(t, "crashed", func(i host.Info) bool { return i.Phase == cluster.PhaseCrashed })
		if !strings.Contains(info.Reason, "killed (SIGKILL)") {
			t.Errorf("reason is %q", info.Reason)
		}
		info = b.eventually(t, "ready again", func(i host.Info) bool { return i.Phase == cluster.PhaseReady })
		c := info.Crashes
		if c == nil || c.Count != n || c.Last.Reason != "killed (SIGKILL)" || time.Since(c.Last.Time) > time.Minute {
			t.Fatalf("crashes are %+v", c)
		}
		if log := strings.Join(c.Last.Log, "\n"); !strings.Contains(log, "fake control plane starts") {
			t.Errorf("log of the crash is %q", log)
		}
	}
	if supervisorPID(t, b) != supervisor || planePID(t, b) == first {
		t.Error("the process was not replaced by the same supervisor")
	}
	must(t, b.Stop(t.Context(), "demo"))
	info := b.eventually(t, "stopped", func(i host.Info) bool { return i.Phase == cluster.PhaseStopped })
	if info.Reason != "" {
		t.Errorf("reason of the stop is %q", info.Reason)
	}
	b.checkNoPlanes(t)
	_, err := b.Start(t.Context(), "demo", host.UpOptions{})
	must(t, err)
	if info := b.eventually(t, "ready", func(i host.Info) bool { return i.Phase == cluster.PhaseReady }); info.Crashes != nil {
		t.Errorf("crashes of the time before the stop: %+v", info.Crashes)
	}
}

func TestAControlPlaneThatDiesTooOftenStaysDown(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(0))
	clustertest.Plane{Exit: "etcd: database is corrupt"}.Install(t, b.Home)
	kill(t, b, planePID(t, b))
	info := b.eventually(t, "stays down", func(i host.Info) bool { return strings.Contains(i.Reason, "stays down") })
	if info.Phase != cluster.PhaseCrashed || info.Crashes.InARow != 5 || !strings.HasPrefix(info.Reason, "etcd: database is corrupt; ") {
		t.Errorf("%+v, crashes %+v", info, info.Crashes)
	}
	if info.Crashes.First.Reason != "killed (SIGKILL)" {
		t.Errorf("the first crash is %+v", info.Crashes.First)
	}
	b.checkNoPlanes(t)
	clustertest.Plane{}.Install(t, b.Home)
	_, err := b.Start(t.Context(), "demo", host.UpOptions{})
	must(t, err)
}

// A control plane does not outlive its supervisor, and what is left is called by its name.
func TestAKilledSupervisor(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(0))
	must(t, syscall.Kill(supervisorPID(t, b), syscall.SIGKILL))
	info := b.eventually(t, "crashed", func(i host.Info) bool { return i.Phase == cluster.PhaseCrashed })
	if !strings.Contains(info.Reason, "supervisor was killed") {
		t.Errorf("reason is %q", info.Reason)
	}
	b.checkNoPlanes(t)
	if _, err := b.Start(t.Context(), "demo", host.UpOptions{}); err != nil {
		t.Fatal(describe(err))
	}
	b.eventually(t, "ready", func(i host.Info) bool { return i.Phase == cluster.PhaseReady })
}

// An end that nobody can tell from a stop is one.
func TestAControlPlaneThatIsToldToEnd(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(0))
	must(t, syscall.Kill(planePID(t, b), syscall.SIGTERM))
	b.eventually(t, "stopped", func(i host.Info) bool { return i.Phase == cluster.PhaseStopped })
	b.checkNoPlanes(t)
}

// One crash on the way up is survived: the next process serves.
func TestUpSurvivesOneCrash(t *testing.T) {
	b := newBench(t)
	clustertest.Plane{Once: "etcd: hiccup"}.Install(t, b.Home)
	b.mustUp(t, request(1))
	info, err := b.Inspect(t.Context(), "demo")
	must(t, err)
	if info.Phase != cluster.PhaseReady || info.Crashes == nil || info.Crashes.Count != 1 || info.Crashes.Last.Reason != "etcd: hiccup" {
		t.Errorf("%+v, crashes %+v", info, info.Crashes)
	}
}

// A failed up shows what the control plane died of first, with the lines around a panic.
func TestTheFirstCrashIsTheOneShown(t *testing.T) {
	b := newBench(t)
	clustertest.Plane{Panic: "assertion failed: Page expected to be: 7"}.Install(t, b.Home)
	_, err := b.Up(t.Context(), request(0), host.UpOptions{})
	if err == nil || !strings.Contains(err.Error(), "run control plane: panic: assertion failed: Page expected to be: 7") {
		t.Errorf("error is %v", describe(err))
	}
	b.checkGone(t)
}

func TestSupervisorFileIsReadable(t *testing.T) {
	l := cluster.Home(t.TempDir()).Cluster("demo")
	must(t, os.MkdirAll(filepath.Dir(l.SupervisorFile()), 0o700))
	if s, alive, err := cluster.ReadSupervision(l); err != nil || alive || s.PID != 0 {
		t.Errorf("without a file: %+v, %t, %v", s, alive, err)
	}
	must(t, os.WriteFile(l.SupervisorFile(), []byte(`{"pid": 7, "boot": "another", "state": "Running"}`), 0o600))
	s, alive, err := cluster.ReadSupervision(l)
	if phase, reason := s.Down(alive); err != nil || phase != cluster.PhaseStopped || !strings.Contains(reason, "machine was restarted") {
		t.Errorf("after a boot: %s, %q, %v", phase, reason, err)
	}
	must(t, os.WriteFile(l.SupervisorFile(), []byte(`{"pid": 7, "bo`), 0o600))
	if _, alive, err := cluster.ReadSupervision(l); err != nil || alive {
		t.Errorf("half a file: %t, %v", alive, err)
	}
}
