package docker

import (
	"testing"

	"github.com/docker/docker/api/types/system"
	"github.com/google/go-cmp/cmp"
)

func TestEngineMounts(t *testing.T) {
	snapshotter := [][2]string{{"driver-type", containerdStore}}
	for _, test := range []struct {
		name string
		info system.Info
		want map[string]string
	}{
		{"overlay2", system.Info{Driver: "overlay2", DockerRootDir: "/data"}, map[string]string{
			"/kl/engine/image": "/data/image", "/kl/engine/overlay2": "/data/overlay2",
		}},
		{"overlay2 in a user namespace", system.Info{Driver: "overlay2", DockerRootDir: "/var/lib/docker/1000.1000"}, map[string]string{
			"/kl/engine/image": "/var/lib/docker/1000.1000/image", "/kl/engine/overlay2": "/var/lib/docker/1000.1000/overlay2",
		}},
		{"containerd", system.Info{
			Driver: "overlayfs", DriverStatus: snapshotter, Containerd: &system.ContainerdInfo{Address: "/run/containerd/containerd.sock"},
		}, map[string]string{"/kl/engine/content": "/var/lib/containerd/io.containerd.content.v1.content"}},
		{"the engine's containerd", system.Info{
			Driver: "overlayfs", DriverStatus: snapshotter, DockerRootDir: "/var/lib/docker",
			Containerd: &system.ContainerdInfo{Address: "/var/run/docker/containerd/containerd.sock"},
		}, map[string]string{"/kl/engine/content": "/var/lib/docker/containerd/daemon/io.containerd.content.v1.content"}},
		{"containerd that is not said where", system.Info{Driver: "overlayfs", DriverStatus: snapshotter, DockerRootDir: t.TempDir()}, map[string]string{
			"/kl/engine/content": "/var/lib/containerd/io.containerd.content.v1.content",
		}},
		{"btrfs", system.Info{Driver: "btrfs", DockerRootDir: "/var/lib/docker"}, map[string]string{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := map[string]string{}
			mounts := engineMounts(test.info)
			for _, m := range mounts {
				got[m.Target] = m.Source
				if !m.ReadOnly || !m.BindOptions.NonRecursive {
					t.Errorf("%s is mounted as %+v", m.Target, m)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("mounts (-want +got):\n%s", diff)
			}
			if left := withoutEngine(mounts); len(left) != 0 {
				t.Errorf("withoutEngine leaves %v", left)
			}
		})
	}
}
