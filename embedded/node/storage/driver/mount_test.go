//go:build linux

package driver

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/klkube/kl/embedded/node/storage"
)

// TestMounts uses real mounts, which need root.
func TestMounts(t *testing.T) {
	probe := t.TempDir()
	if err := unix.Mount(probe, probe, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	if err := unix.Unmount(probe, 0); err != nil {
		t.Fatal(err)
	}
	s, conn, agent := serve(t)
	if _, err := agent.Put(t.Context(), storage.Volume{Kind: storage.NodeLocal, ID: "a", Size: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		mode     csi.VolumeCapability_AccessMode_Mode
		readonly bool
		flags    []string
		writable bool
	}{
		"writer":    {mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, writable: true},
		"one pod":   {mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER, flags: []string{"noatime"}, writable: true},
		"many":      {mode: csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER, writable: true},
		"readers":   {mode: csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY},
		"read-only": {mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, readonly: true},
		"option":    {mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, flags: []string{"ro"}},
	} {
		t.Run(name, func(t *testing.T) {
			target := filepath.Join(s.Kubelet, "pods", name, "mount")
			r := &csi.NodePublishVolumeRequest{
				VolumeId: "a", TargetPath: target, Readonly: test.readonly, VolumeContext: map[string]string{storage.KindKey: "local"},
				VolumeCapability: &csi.VolumeCapability{
					AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{MountFlags: test.flags}},
					AccessMode: &csi.VolumeCapability_AccessMode{Mode: test.mode},
				},
			}
			node := csi.NewNodeClient(conn)
			for range 2 { // the kubelet may repeat the call
				if _, err := node.NodePublishVolume(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
			r.TargetPath = filepath.Join(s.Kubelet, "pods", "other", "mount")
			_, err := node.NodePublishVolume(t.Context(), r)
			if want := test.mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER; (status.Code(err) == codes.FailedPrecondition) != want {
				t.Errorf("mount in another pod: %v, want a refusal: %v", err, want)
			}
			if err == nil {
				_, err = node.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: "a", TargetPath: r.TargetPath})
			}
			if err != nil && status.Code(err) != codes.FailedPrecondition {
				t.Error(err)
			}
			err = os.WriteFile(filepath.Join(target, name), make([]byte, 8192), 0o600)
			if test.writable && err != nil || !test.writable && !errors.Is(err, unix.EROFS) {
				t.Errorf("write: %v", err)
			}
			if err := agent.Delete(t.Context(), storage.NodeLocal, "a"); !errors.Is(err, storage.ErrInUse) {
				t.Errorf("delete while mounted: %v", err)
			}
			stats, err := node.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: "a", VolumePath: target})
			if err != nil {
				t.Fatal(err)
			}
			if u := stats.Usage[0]; u.Total != 1<<20 || u.Used <= 0 || u.Available != u.Total-u.Used {
				t.Errorf("usage is %v", u)
			}
			for range 2 {
				if _, err := node.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: "a", TargetPath: target}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(target); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("mount point is left: %v", err)
			}
			_, err = node.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: "a", VolumePath: target})
			if status.Code(err) != codes.NotFound {
				t.Errorf("stats of a volume that is not mounted: %v", err)
			}
		})
	}
	if err := agent.Delete(t.Context(), storage.NodeLocal, "a"); err != nil {
		t.Error(err)
	}
}

func TestDisks(t *testing.T) {
	s, _, agent := serve(t)
	plain, disk, sealed := filepath.Join(s.Disks.Dir, "plain"), filepath.Join(s.Disks.Dir, "disk"), filepath.Join(s.Disks.Dir, "sealed")
	for _, dir := range []string{plain, disk, sealed} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("none", disk, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	if err := unix.Mount("none", sealed, "tmpfs", unix.MS_RDONLY, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(sealed, unix.MNT_DETACH) })
	state, err := agent.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(state.Disks) != 1 || state.Disks[0] != (storage.Disk{Name: "disk", Path: disk, Capacity: 8 << 20}) {
		t.Errorf("disks are %+v, want the only writable mount point", state.Disks)
	}
	if err := os.MkdirAll(filepath.Join(disk, "dir", "file"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := agent.Clean(t.Context(), "disk"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(disk); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	for _, name := range []string{"plain", "other", "sealed"} { // none of which is a disk
		if err := agent.Clean(t.Context(), name); !errors.Is(err, storage.ErrGone) {
			t.Errorf("clean %s: %v", name, err)
		}
	}
}
