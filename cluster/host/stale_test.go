package host

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// What a supervisor that has just begun writes is not taken for what an earlier one has left.
func TestRemoveStale(t *testing.T) {
	l := cluster.Home(t.TempDir()).Cluster("demo")
	if err := os.MkdirAll(filepath.Dir(l.SupervisorFile()), 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := statefile.Claim(l.SupervisorFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := removeStale(l); !errors.Is(err, statefile.ErrLocked) {
		t.Errorf("with a supervisor: %v", err)
	}
	if _, err := os.Stat(l.SupervisorFile()); err != nil {
		t.Error(err)
	}
	lock.Unlock()
	if err := removeStale(l); err != nil {
		t.Errorf("without one: %v", err)
	}
	if _, err := os.Stat(l.SupervisorFile()); err == nil {
		t.Error("the file of a supervisor that has ended is still there")
	}
}
