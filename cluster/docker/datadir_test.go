package docker_test

import (
	"path/filepath"
	"testing"

	"github.com/docker/docker/api/types/system"
)

// The engine's data root is told where this machine has it, and not where it is in a virtual machine.
func TestDataDir(t *testing.T) {
	here := t.TempDir()
	for root, want := range map[string]string{here: here, filepath.Join(here, "elsewhere"): ""} {
		f := fakeEngine{version: "1.47", info: system.Info{DockerRootDir: root}}
		d, err := f.serve(t)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if got, err := d.DataDir(t.Context()); got != want || err != nil {
			t.Errorf("data root %s is told as %q (%v), want %q", root, got, err, want)
		}
	}
}
