package host_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

// A control plane that died while the disk is full is started again once there is space, however long that takes; stop and
// down work on the full disk.
func TestFullDisk(t *testing.T) {
	b := newBench(t)
	must(t, os.MkdirAll(string(b.Home), 0o700))
	if err := syscall.Mount("tmpfs", string(b.Home), "tmpfs", 0, "size=192m"); err != nil {
		t.Skipf("SKIPPED: mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(string(b.Home), syscall.MNT_DETACH)) })
	b.mustUp(t, request(1))
	ballast := filepath.Join(string(b.Home), "ballast")
	fill := func() {
		f, err := os.Create(ballast)
		must(t, err)
		defer f.Close()
		for size := 1 << 20; size > 0; {
			if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
				size /= 2
			} else {
				must(t, err)
			}
		}
	}
	fill()
	kill(t, b, planePID(t, b))
	info := b.eventually(t, "waits for space", func(i host.Info) bool {
		return strings.Contains(i.Reason, "is full: the control plane is started again once 80 MB are free")
	})
	if info.Phase != cluster.PhaseCrashed || info.Crashes == nil || info.Crashes.InARow != 0 {
		t.Errorf("%+v, crashes %+v", info, info.Crashes)
	}
	must(t, os.Remove(ballast))
	b.eventually(t, "ready again", func(i host.Info) bool { return i.Phase == cluster.PhaseReady })
	fill()
	must(t, b.Stop(t.Context(), "demo"))
	if _, err := b.Down(t.Context(), "demo"); err != nil {
		t.Error(describe(err))
	}
}
