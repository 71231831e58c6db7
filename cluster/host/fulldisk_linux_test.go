package host_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

// A control plane that died while the disk is full is started again once there is space, however long that takes. stop, node remove and
// down work without a free byte or inode.
func TestFullDisk(t *testing.T) {
	b := newBench(t)
	must(t, os.MkdirAll(string(b.Home), 0o700))
	if err := syscall.Mount("tmpfs", string(b.Home), "tmpfs", 0, "size=192m,nr_inodes=1000"); err != nil {
		t.Skipf("SKIPPED: mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(string(b.Home), syscall.MNT_DETACH)) })
	b.mustUp(t, request(2))
	ballast := filepath.Join(string(b.Home), "ballast")
	fillDisk(t, ballast)
	kill(t, b, planePID(t, b))
	waits := func(i host.Info) bool {
		return strings.Contains(i.Reason, "is full: the control plane is started again once 80 MB are free")
	}
	info := b.eventually(t, "waits for space", waits)
	if info.Phase != cluster.PhaseCrashed || info.Crashes == nil || info.Crashes.InARow != 0 {
		t.Errorf("%+v, crashes %+v", info, info.Crashes)
	}
	must(t, os.RemoveAll(ballast))
	b.eventually(t, "ready again", func(i host.Info) bool { return i.Phase == cluster.PhaseReady })

	takeInodes(t, ballast) // and no byte
	kill(t, b, planePID(t, b))
	b.eventually(t, "waits for inodes", waits)
	must(t, os.RemoveAll(ballast))
	b.eventually(t, "ready again", func(i host.Info) bool { return i.Phase == cluster.PhaseReady })

	fillDisk(t, ballast)
	kill(t, b, planePID(t, b))
	b.eventually(t, "waits for space", waits)
	must(t, b.RemoveNode(t.Context(), "demo", "n2", host.RemoveOptions{Force: true, DeleteVolumes: true}))
	if spec, err := cluster.ReadSpec(b.Home.Cluster("demo")); err != nil || spec.NodeCount() != 1 {
		t.Errorf("%d nodes in cluster.yaml (%v), want 1", spec.NodeCount(), err)
	}
	must(t, os.RemoveAll(ballast))
	b.eventually(t, "ready again", func(i host.Info) bool { return i.Phase == cluster.PhaseReady })

	fillDisk(t, ballast)
	must(t, b.Stop(t.Context(), "demo"))
	if info, err := b.Inspect(t.Context(), "demo"); err != nil || info.Phase != cluster.PhaseStopped {
		t.Errorf("phase %s (%v), want Stopped", info.Phase, err)
	}
	if _, err := b.Down(t.Context(), "demo"); err != nil {
		t.Error(describe(err))
	}
}

// fillDisk makes a directory with files that take every inode and every byte.
func fillDisk(t *testing.T, dir string) {
	t.Helper()
	must(t, os.Mkdir(dir, 0o700))
	f, err := os.Create(filepath.Join(dir, "bytes"))
	must(t, err)
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else {
			must(t, err)
		}
	}
	takeInodes(t, filepath.Join(dir, "inodes"))
}

// takeInodes makes a directory with files that take every inode.
func takeInodes(t *testing.T, dir string) {
	t.Helper()
	must(t, os.Mkdir(dir, 0o700))
	for i := 0; ; i++ {
		g, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if errors.Is(err, syscall.ENOSPC) {
			return
		}
		must(t, err)
		g.Close()
	}
}
