package host

import (
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// What a control plane says about its end tells a lack of space, also where there is space that this user does not have.
func TestLackedSpace(t *testing.T) {
	s := &supervisor{layout: cluster.Home(t.TempDir()).Cluster("demo")}
	for reason, want := range map[string]bool{
		"etcd: failed to create WAL: no space left on device":                  true,
		"panic: write /home/me/.kl/clusters/demo/etcd/db: disk quota exceeded": true,
		"killed (SIGKILL)": false,
	} {
		if got := s.lackedSpace(&cluster.Crash{Reason: reason}); got != want {
			t.Errorf("%q is a lack of space: %t, want %t", reason, got, want)
		}
	}
}

// A control plane that cannot write although the disk has space is started again ever more slowly, and never given up.
func TestWaitForSpaceBacksOff(t *testing.T) {
	l := cluster.Home(t.TempDir()).Cluster("demo")
	if err := os.MkdirAll(l.RunDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := statefile.Claim(l.SupervisorFile())
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	stop := make(chan os.Signal, 1)
	stop <- os.Interrupt // so that no wait takes long
	s := &supervisor{layout: l, log: slog.New(slog.DiscardHandler), lock: lock, stop: stop}
	var delays []time.Duration
	for i, ran := range []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, roomyAfter} {
		stopped, err := s.waitForSpace(&cluster.Crash{Time: time.Now(), Reason: "disk quota exceeded"}, ran)
		if err != nil || !stopped {
			t.Fatalf("stopped %t, %v", stopped, err)
		}
		delays = append(delays, s.spaceDelay)
		if state, _, err := cluster.ReadSupervision(l); err != nil || state.State != cluster.SupervisionWaiting || state.Crashes.InARow != 0 || state.Crashes.Count != i+1 {
			t.Errorf("%+v (%v), want Waiting with no crash in a row", state, err)
		}
		stop <- os.Interrupt
	}
	const first, most = firstDelay, maxSpaceDelay
	want := []time.Duration{first, 2 * first, 4 * first, 8 * first, 16 * first, 32 * first, 64 * first, most, first}
	if !slices.Equal(delays, want) {
		t.Errorf("pauses are %s, want %s", delays, want)
	}
}
