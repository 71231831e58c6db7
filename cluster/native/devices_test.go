//go:build linux

package native

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestDevices(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: not root, so no device can be made")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]struct {
		kind         uint32
		major, minor uint32
	}{
		"net/tun": {unix.S_IFCHR, 10, 200}, "kvm": {unix.S_IFCHR, 10, 232}, "loop0": {unix.S_IFBLK, 7, 0}, "loop12": {unix.S_IFBLK, 7, 12},
		"sda": {unix.S_IFBLK, 8, 0}, "fuse": {unix.S_IFREG, 0, 0},
	} {
		if err := unix.Mknod(filepath.Join(dir, name), d.kind|0o660, int(unix.Mkdev(d.major, d.minor))); err != nil {
			t.Fatal(err)
		}
	}
	paths := func(may func(specs.LinuxDevice) bool) (have []string) {
		for _, d := range devices(dir, may) {
			have = append(have, d.Path+" "+d.Type)
			if d.Path == "/dev/net/tun" && (d.Major != 10 || d.Minor != 200) {
				t.Errorf("%+v", d)
			}
		}
		return have
	}
	bundle := t.TempDir()
	if diff := cmp.Diff([]string{"/dev/net/tun c", "/dev/kvm c", "/dev/loop0 b", "/dev/loop12 b"}, paths(mayMake(bundle))); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
	if left, _ := os.ReadDir(bundle); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if have := paths(func(d specs.LinuxDevice) bool { return d.Type == "c" }); len(have) != 2 {
		t.Errorf("with block devices forbidden: %v", have)
	}
}

// TestNodeHasTheMachinesDevices: whichever of the devices this machine has, its nodes have.
func TestNodeHasTheMachinesDevices(t *testing.T) {
	machine(t)
	d := connect(t, t.TempDir())
	n := create(t, d, spec(t, d, "n1"))
	some := false
	for _, dev := range []string{"/dev/net/tun", "/dev/fuse", "/dev/kvm", "/dev/loop-control", "/dev/loop0"} {
		if _, err := os.Stat(dev); err != nil {
			continue
		}
		some = true
		if out, code := run(t, d, n, "sh", "-c", "[ -e "+dev+" ]"); code != 0 {
			t.Errorf("%s: %s", dev, out)
		}
	}
	if !some {
		t.Skip("SKIPPED: this machine has none of the devices")
	}
}
