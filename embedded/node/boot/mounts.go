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

// parseMounts reads the format of /proc/self/mounts: fields separated by blanks, special characters as octal escapes.
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

// unescape undoes the kernel's \ooo escapes of blanks, tabs, newlines and backslashes.
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

// shareMounts makes the whole tree shared, so that mounts propagate between the node and its pods as they do on a
// machine (mountPropagation: Bidirectional). Nothing leaks to the host: the container's tree is a peer group of its own.
func (m *Machine) shareMounts() error {
	return m.Kernel.Mount("", m.path("/"), "", syscall.MS_REC|syscall.MS_SHARED, "")
}

// writableKernelFiles undoes read-only mounts below /proc and /sys, which an engine puts there when the container is not
// privileged. A single one may stay read-only; if a file that is needed is among them, whoever writes it says so.
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

// keptFlags are the flags of a mount that a remount must repeat: in a user namespace they may not be dropped.
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

// Release unmounts what pods and their volumes left behind. It is called when no process but this one runs any more.
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

// below tells whether path is dir or inside it.
func below(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
