package host_test

import (
	"os"
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
