package docker_test

import (
	"os"
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

// The directory with images is the engine's, or that of the containerd which has them.
func TestImagesDir(t *testing.T) {
	root := t.TempDir()
	own := filepath.Join(root, "containerd", "daemon")
	for _, withOwn := range []bool{false, true} {
		if withOwn {
			if err := os.MkdirAll(own, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		guess := "/var/lib/containerd"
		if withOwn {
			guess = own
		}
		snapshotter := [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}
		for name, tt := range map[string]struct {
			info system.Info
			want string
		}{
			"overlay2":                     {system.Info{Driver: "overlay2"}, root},
			"btrfs":                        {system.Info{Driver: "btrfs"}, ""},
			"a containerd of its own":      {system.Info{Driver: "overlayfs", DriverStatus: snapshotter, Containerd: address("/var/run/docker/containerd/containerd.sock")}, own},
			"the machine's":                {system.Info{Driver: "overlayfs", DriverStatus: snapshotter, Containerd: address("/run/containerd/containerd.sock")}, "/var/lib/containerd"},
			"one whose socket is not said": {system.Info{Driver: "overlayfs", DriverStatus: snapshotter}, guess},
		} {
			tt.info.DockerRootDir = root
			f := fakeEngine{version: "1.47", info: tt.info}
			d, err := f.serve(t)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, got, err := d.ImageIDs(t.Context(), nil); got != tt.want || err != nil {
				t.Errorf("%s, with a directory %v: images are in %q (%v), want %q", name, withOwn, got, err, tt.want)
			}
		}
	}
}

func address(socket string) *system.ContainerdInfo { return &system.ContainerdInfo{Address: socket} }
