package host_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klkube/kl/cluster/host"

	"github.com/klkube/kl/cluster"
)

// While a control plane starts and while it ends, its PID file is locked and empty for a moment.
func TestPIDOfAProcessOnItsWay(t *testing.T) {
	for _, tt := range []struct {
		name string
		then func(*os.File) error // what the process does next
		pid  int
		err  string
	}{
		{"starting", func(f *os.File) error { _, err := f.WriteString("4711\n"); return err }, 4711, ""},
		{"ending", func(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }, 0, ""},
		{"neither", func(*os.File) error { return nil }, 0, "contains no process ID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := cluster.Home(t.TempDir()).Cluster("demo")
			must(t, os.MkdirAll(filepath.Dir(l.PIDFile()), 0o700))
			f, err := os.Create(l.PIDFile())
			must(t, err)
			defer f.Close()
			must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
			done := make(chan struct{})
			defer func() { <-done }() // before the file is closed
			time.AfterFunc(20*time.Millisecond, func() {
				defer close(done)
				if err := tt.then(f); err != nil {
					t.Error(err)
				}
			})
			pid, err := host.ControlPlanePID(l)
			if pid != tt.pid || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%d, %v", pid, err)
			}
		})
	}
}

// A command that was killed may have started a supervisor that nobody can see yet. The next command wins, however late it comes.
func TestStartBesideAnotherSupervisor(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(0))
	l := b.Home.Cluster("demo")
	for i := range 20 {
		must(t, b.Stop(t.Context(), "demo"))
		script := fmt.Sprintf(`sleep 0.%03d; exec "$@"`, 8*i) // what is under test is the moment
		other := exec.CommandContext(t.Context(), "sh", "-c", script, "sh", os.Args[0], host.SuperviseCommand, l.Dir(), os.Args[0])
		other.Dir = l.Dir()
		must(t, other.Start())
		if _, err := b.Start(t.Context(), "demo", host.UpOptions{Timeout: time.Minute}); err != nil {
			t.Fatalf("other after %d ms: %s", 8*i, describe(err))
		}
		if s, alive, err := cluster.ReadSupervision(l); err != nil || !alive {
			t.Fatalf("other after %d ms: no supervisor lives: %+v, %v", 8*i, s, err)
		}
		if s, _, _ := cluster.ReadSupervision(l); s.PID != other.Process.Pid {
			must(t, ignoreExit(other.Wait()))
		} else { // it was there first, and Start found its control plane
			must(t, other.Process.Release())
		}
	}
}

// ignoreExit is nil for an error that is the status of a process.
func ignoreExit(err error) error {
	if _, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Wait returns it as it is
		return nil
	}
	return err
}
