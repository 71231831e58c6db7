//go:build linux

package native

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// devicePatterns are the machine's devices, below /dev, that pods ask their node for: tunnels, file systems of programs, virtual
// machines, file systems in files. Docker's privileged containers have them, too.
func devicePatterns() []string {
	return []string{"net/tun", "fuse", "kvm", "vhost-net", "vhost-vsock", "loop-control", "loop[0-9]*"}
}

// devices describes those of the machine's devices that nodes get. may reports whether a device can be made; in a container it may
// be forbidden.
func devices(dir string, may func(specs.LinuxDevice) bool) []specs.LinuxDevice {
	var list []specs.LinuxDevice
	for _, pattern := range devicePatterns() {
		found, _ := filepath.Glob(filepath.Join(escapeGlob(dir), pattern)) // the patterns are well-formed
		slices.Sort(found)
		for _, path := range found {
			rel, err := filepath.Rel(dir, path)
			var s unix.Stat_t
			if err != nil || unix.Stat(path, &s) != nil {
				continue // it has gone
			}
			d := specs.LinuxDevice{
				Path: filepath.Join("/dev", rel), Major: int64(unix.Major(s.Rdev)), Minor: int64(unix.Minor(s.Rdev)),
				UID: &s.Uid, GID: &s.Gid,
			}
			mode := os.FileMode(s.Mode & 0o777)
			d.FileMode = &mode
			switch s.Mode & unix.S_IFMT {
			case unix.S_IFCHR:
				d.Type = "c"
			case unix.S_IFBLK:
				d.Type = "b"
			default:
				continue
			}
			if may(d) {
				list = append(list, d)
			}
		}
	}
	return list
}

// mayMake tries to make a device in a directory.
func mayMake(dir string) func(specs.LinuxDevice) bool {
	return func(d specs.LinuxDevice) bool {
		probe, kind := filepath.Join(dir, "device"), uint32(unix.S_IFCHR)
		if d.Type == "b" {
			kind = unix.S_IFBLK
		}
		err := unix.Mknod(probe, kind|0o600, int(unix.Mkdev(uint32(d.Major), uint32(d.Minor))))
		_ = os.Remove(probe)
		return err == nil
	}
}
