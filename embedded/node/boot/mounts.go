package boot

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// mountPoint is one line of /proc/self/mounts.
type mountPoint struct {
	target  string
	options []string
}

// parseMounts parses /proc/self/mounts: fields separated by blanks, with special characters as octal escapes.
func parseMounts(data string) []mountPoint {
	var mounts []mountPoint
	for line := range strings.Lines(data) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		mounts = append(mounts, mountPoint{target: unescape(f[1]), options: strings.Split(f[3], ",")})
	}
	return mounts
}

// unescape decodes the kernel's \ooo escapes of blanks, tabs, newlines and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (m *Machine) mounts() ([]mountPoint, error) {
	data, err := os.ReadFile(m.path("/proc/self/mounts"))
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data)), nil
}

// shareMounts makes all mounts shared, so that mounts propagate between the node and its pods (mountPropagation:
// Bidirectional). They do not propagate to the host: the container's mounts are a peer group of their own.
func (m *Machine) shareMounts() error {
	return m.Kernel.Mount("", m.path("/"), "", syscall.MS_REC|syscall.MS_SHARED, "")
}

// writableKernelFiles remounts read-only mounts in /proc and /sys read-write; engines make them if the container is not
// privileged. Failures are only logged: if a file is needed, writing it fails later.
func (m *Machine) writableKernelFiles() error {
	mounts, err := m.mounts()
	if err != nil {
		return err
	}
	for _, mp := range mounts {
		if !below(mp.target, "/proc") && !below(mp.target, "/sys") || !slices.Contains(mp.options, "ro") {
			continue
		}
		flags := syscall.MS_REMOUNT | syscall.MS_BIND | keptFlags(mp.options)
		if err := m.Kernel.Mount("", m.path(mp.target), "", flags, ""); err != nil {
			m.Logger.Warn("remount read-write", "path", mp.target, "err", err)
		}
	}
	return nil
}

// keptFlags returns the flags of a mount that a remount must repeat: in a user namespace they may not be dropped.
func keptFlags(options []string) uintptr {
	flags := uintptr(0)
	for name, flag := range map[string]uintptr{
		"nosuid": syscall.MS_NOSUID, "nodev": syscall.MS_NODEV, "noexec": syscall.MS_NOEXEC,
		"noatime": syscall.MS_NOATIME, "relatime": syscall.MS_RELATIME, "nodiratime": syscall.MS_NODIRATIME,
	} {
		if slices.Contains(options, name) {
			flags |= flag
		}
	}
	return flags
}

// Release unmounts what pods and their volumes have left mounted. It is called when all other processes have ended.
func (m *Machine) Release() error {
	mounts, err := m.mounts()
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	var errs []error
	for _, mp := range slices.Backward(mounts) { // the last mounted first
		if !below(mp.target, "/run/containerd") && !below(mp.target, "/run/netns") && !below(mp.target, "/var/lib/kubelet") {
			continue
		}
		if err := m.Kernel.Unmount(m.path(mp.target), syscall.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", mp.target, err))
		}
	}
	return errors.Join(errs...)
}

// below reports whether path is dir or inside of it.
func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
