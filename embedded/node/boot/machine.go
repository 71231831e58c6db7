package boot

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
)

// Kernel is what Machine needs from the operating system besides files.
type Kernel interface {
	Mount(source, target, fstype string, flags uintptr, data string) error
	Unmount(target string, flags int) error
	Mknod(path string, mode uint32, dev int) error
	LimitOpenFiles(soft, hard uint64) error
	HardOpenFiles() (uint64, error)
}

// Linux is the running kernel.
type Linux struct{}

var _ Kernel = Linux{}

// Mount is mount(2).
func (Linux) Mount(source, target, fstype string, flags uintptr, data string) error {
	return syscall.Mount(source, target, fstype, flags, data)
}

// Unmount is umount2(2).
func (Linux) Unmount(target string, flags int) error { return syscall.Unmount(target, flags) }

// Mknod is mknod(2).
func (Linux) Mknod(path string, mode uint32, dev int) error { return syscall.Mknod(path, mode, dev) }

// CgroupRoot is the cgroup below which the kubelet puts its pods, seen from the node.
const CgroupRoot = "/kubelet"

// Machine prepares the container it runs in.
type Machine struct {
	Root    string // "/", or a directory in its place in tests
	Kernel  Kernel
	Gateway string // address of the node's DNS relay, which pods use if Docker's is the only resolver; may be empty
	Logger  *slog.Logger
}

func (m *Machine) path(p string) string { return filepath.Join(m.Root, p) }

// Prepare prepares the container for containerd and the kubelet, and writes the facts to [FactsFile] too. It is called at each
// start: a restarted container keeps its /var and its writable layer, and what belonged to processes of the last run is
// removed. An error means that a kubelet cannot run in the container.
func (m *Machine) Prepare() (Facts, error) {
	if err := m.shareMounts(); err != nil {
		return Facts{}, fmt.Errorf("share mounts: %w", err)
	}
	if err := m.writableKernelFiles(); err != nil {
		return Facts{}, fmt.Errorf("remount kernel files: %w", err)
	}
	if err := m.clean(); err != nil {
		return Facts{}, fmt.Errorf("remove leftovers: %w", err)
	}
	if err := m.makeDirs(); err != nil {
		return Facts{}, fmt.Errorf("make directories: %w", err)
	}
	m.makeKmsg()
	m.shieldMachine()
	m.limitOpenFiles()
	if err := m.writeMachineID(); err != nil {
		return Facts{}, fmt.Errorf("write machine-id: %w", err)
	}
	version, err := m.prepareCgroups()
	if err != nil {
		return Facts{}, fmt.Errorf("prepare cgroups: %w", err)
	}
	if err := m.setSysctls(); err != nil {
		return Facts{}, fmt.Errorf("set sysctls: %w", err)
	}
	facts := Facts{CgroupVersion: version, RestrictOOMScoreAdj: !m.hasSysResource()}
	if facts.DNSUpstream, err = m.writeResolvConf(); err != nil {
		return Facts{}, fmt.Errorf("write resolv.conf: %w", err)
	}
	if err := facts.write(m.path(FactsFile)); err != nil {
		return Facts{}, fmt.Errorf("write facts: %w", err)
	}
	return facts, nil
}

// leftovers are directories that belong to processes and mounts of an earlier run. Among them are the addresses of pods that
// no longer exist, so that crashes cannot exhaust the pod range.
func leftovers() []string {
	return []string{"/run/containerd", "/run/runc", "/run/netns", "/run/cni", "/run/kl", "/run/kubelet", "/var/lib/cni"}
}

func (m *Machine) clean() error {
	var errs []error
	for _, dir := range leftovers() {
		errs = append(errs, os.RemoveAll(m.path(dir)))
	}
	return errors.Join(errs...)
}

func (m *Machine) makeDirs() error {
	dirs := []string{
		"/run/kl", "/run/containerd", "/run/cni", "/tmp",
		"/etc/cni/net.d", "/etc/containerd/certs.d", "/etc/kubernetes/manifests",
		"/var/lib/kl", "/var/lib/containerd", "/var/lib/kubelet", "/var/log/pods", "/var/log/containers",
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(m.path(dir), 0o755); err != nil {
			return err
		}
	}
	return os.Chmod(m.path("/tmp"), 0o777|os.ModeSticky)
}

// makeKmsg creates the device of the kernel log, where the kubelet looks for OOM kills, because some engines hide it. If the
// device cannot be created (in user namespaces), an empty log takes its place: pods run, but OOM events name no process.
func (m *Machine) makeKmsg() {
	kmsg := m.path("/dev/kmsg")
	if _, err := os.Stat(kmsg); err == nil {
		return
	}
	const device = 1<<8 | 11
	err := m.Kernel.Mknod(kmsg, syscall.S_IFCHR|0o600, device)
	if err == nil {
		return
	}
	m.Logger.Warn("cannot create /dev/kmsg, using an empty one", "err", err)
	_ = os.Remove(kmsg) // a dangling link of an earlier run, which may not exist
	if err := os.Symlink("/dev/null", kmsg); err != nil {
		m.Logger.Warn("link /dev/kmsg", "err", err)
	}
}

// setSysctls lets the node route for its pods. Reverse path filtering is loose, because answers may arrive on another
// interface than the one requests leave by.
func (m *Machine) setSysctls() error {
	settings := []struct {
		name, value string
		required    bool
	}{
		{"net/ipv4/ip_forward", "1", true},
		{"net/ipv4/conf/all/rp_filter", "2", false},
		{"net/ipv4/conf/default/rp_filter", "2", false},
		{"net/ipv4/conf/all/route_localnet", "0", false}, // 127.0.0.1 is the node's own; portmap sets it for host ports' links
		{"net/ipv6/conf/all/forwarding", "1", false},
	}
	for _, s := range settings {
		err := writeExisting(m.path("/proc/sys/"+s.name), s.value)
		switch {
		case err != nil && s.required:
			return fmt.Errorf("set %s: %w", s.name, err)
		case err != nil:
			m.Logger.Warn("set sysctl", "name", s.name, "err", err)
		}
	}
	return nil
}

// writeExisting writes a value to a file of the kernel, which must exist, in one write.
func writeExisting(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
