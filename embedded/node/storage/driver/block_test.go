//go:build linux

package driver

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/klkube/kl/embedded/node/storage"
	"github.com/klkube/kl/embedded/node/storage/loop"
)

func blockRequest(id, target string, mode csi.VolumeCapability_AccessMode_Mode) *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{
		VolumeId: id, TargetPath: target, VolumeContext: map[string]string{storage.KindKey: "local"},
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		},
	}
}

// probeLoop returns why files cannot be attached here, nil if they can.
func probeLoop(t *testing.T) error {
	t.Helper()
	probe := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(probe, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := loop.Attach(probe)
	if err != nil {
		return err
	}
	return d.Close()
}

// TestBlock uses real loop devices, which need root.
func TestBlock(t *testing.T) {
	if err := probeLoop(t); err != nil {
		t.Skipf("BLOCK VOLUMES ARE NOT TESTED: they need root and the kernel's loop driver: %v", err)
	}
	s, conn, agent := serve(t)
	v := storage.Volume{Kind: storage.NodeLocal, ID: "raw", Size: 1<<20 - 1, Block: true}
	made, err := agent.Put(t.Context(), v)
	if err != nil || !made.Block || !made.Limit.Enforced {
		t.Fatalf("made %+v, %v", made, err)
	}
	if _, err := agent.Put(t.Context(), storage.Volume{Kind: storage.NodeLocal, ID: "raw", Size: 1 << 20}); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("the same volume as a file system: %v", err)
	}
	node, dir := csi.NewNodeClient(conn), filepath.Join(s.Kubelet, "publish")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	for _, target := range []string{one, one, two} { // the kubelet may repeat the call
		if _, err := node.NodePublishVolume(t.Context(), blockRequest("raw", target, csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)); err != nil {
			t.Fatal(err)
		}
	}
	text := []byte("written to the device")
	d, err := os.OpenFile(one, os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt(text, 4096); err != nil {
		t.Fatal(err)
	}
	v.Size = 2 << 20
	if _, err := agent.Put(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	if end, err := d.Seek(0, 2); err != nil || end != 2<<20 {
		t.Errorf("the grown device has %d bytes, %v", end, err)
	}
	stats, err := node.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: "raw", VolumePath: one})
	if err != nil || len(stats.Usage) != 1 || stats.Usage[0].Total != 2<<20 {
		t.Errorf("usage is %v, %v", stats, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if d, err = os.Open(two); err == nil {
		_, err = d.ReadAt(got, 4096)
		err = errors.Join(err, d.Close())
	}
	if err != nil || !bytes.Equal(got, text) {
		t.Errorf("the second pod reads %q, %v", got, err)
	}
	for _, target := range []string{one, two, two} {
		if err := agent.Delete(t.Context(), storage.NodeLocal, "raw"); target == one && !errors.Is(err, storage.ErrInUse) {
			t.Errorf("delete while published: %v", err)
		}
		if _, err := node.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: "raw", TargetPath: target}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) { // the kernel detaches after the last close
		err := agent.Delete(t.Context(), storage.NodeLocal, "raw")
		if err == nil {
			break
		}
		if !errors.Is(err, storage.ErrInUse) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(s.Local.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBlockRefusals(t *testing.T) {
	s, conn, agent := serve(t)
	if _, err := agent.Put(t.Context(), storage.Volume{Kind: storage.NodeLocal, ID: "dir", Size: 1}); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(s.Local.Dir, "raw") // made by hand, which needs no loop device
	if err := errors.Join(os.Mkdir(raw, 0o755), writeRecord(raw, record{Size: 1, Block: true})); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(s.Kubelet, "target")
	mount := blockRequest("raw", target, csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER)
	mount.VolumeCapability.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}}
	for says, r := range map[string]*csi.NodePublishVolumeRequest{
		"volume dir has another volumeMode": blockRequest("dir", target, csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER),
		"volume raw has another volumeMode": mount,
		storage.BlockReadOnly:               blockRequest("raw", target, csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY),
		"the access mode is missing":        blockRequest("raw", target, csi.VolumeCapability_AccessMode_UNKNOWN),
	} {
		_, err := csi.NewNodeClient(conn).NodePublishVolume(t.Context(), r)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %s", err, says)
		}
	}
	if _, err := os.Stat(target); err == nil {
		t.Error("a refused volume has a mount point")
	}
}

// TestBlockOfOnePod: a device for one pod is not given to another, and calls for the pod that has it may be repeated, although the kubelet
// has mounted the device once more for itself.
func TestBlockOfOnePod(t *testing.T) {
	if err := probeLoop(t); err != nil {
		t.Skipf("BLOCK VOLUMES ARE NOT TESTED: they need the kernel's loop driver: %v", err)
	}
	s, conn, agent := serve(t)
	if _, err := agent.Put(t.Context(), storage.Volume{Kind: storage.NodeLocal, ID: "raw", Size: 1 << 20, Block: true}); err != nil {
		t.Fatal(err)
	}
	node, dir := csi.NewNodeClient(conn), filepath.Join(s.Kubelet, "publish")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	publish := func(name string) error {
		r := blockRequest("raw", filepath.Join(dir, name), csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER)
		_, err := node.NodePublishVolume(t.Context(), r)
		return err
	}
	if err := publish("one"); err != nil {
		t.Fatal(err)
	}
	kubelets := filepath.Join(dir, "kubelets")
	if err := os.WriteFile(kubelets, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(filepath.Join(dir, "one"), kubelets, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := publish("one"); err != nil {
		t.Errorf("the call repeated: %v", err)
	}
	if err := publish("two"); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("for another pod: %v, want FailedPrecondition", err)
	}
	if err := unix.Unmount(kubelets, 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		if _, err := node.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: "raw", TargetPath: filepath.Join(dir, name)}); err != nil {
			t.Error(err)
		}
	}
}
