package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// maxOpenFiles is the limit of open files, soft and hard, for everything in a node.
const maxOpenFiles = 1 << 20

// limitOpenFiles gives the node's programs, and the pods after them, the same limit whatever started the node. Without
// CAP_SYS_RESOURCE the hard limit that was inherited is all there is.
func (m *Machine) limitOpenFiles() {
	err := m.Kernel.LimitOpenFiles(maxOpenFiles, maxOpenFiles)
	if err == nil {
		return
	}
	hard, herr := m.Kernel.HardOpenFiles()
	if herr == nil {
		herr = m.Kernel.LimitOpenFiles(min(hard, maxOpenFiles), min(hard, maxOpenFiles))
	}
	if herr != nil {
		m.Logger.Warn("limit open files", "err", errors.Join(err, herr))
	}
}

// LimitOpenFiles is setrlimit(2) for RLIMIT_NOFILE, of this process and those it starts.
func (Linux) LimitOpenFiles(soft, hard uint64) error {
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: soft, Max: hard})
}

// HardOpenFiles returns the hard limit of RLIMIT_NOFILE.
func (Linux) HardOpenFiles() (uint64, error) {
	var l syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
	return l.Max, err
}

// machineWide are the sysctls that the kubelet sets, and the values it wants. They belong to no namespace: a node would change
// the machine's.
func machineWide() map[string]string {
	return map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	}
}

// wholeProc has another view of /proc without anything mounted over it. The kernel lets a pod with a user namespace of its own
// mount a proc file system only if the node has one that is visible as a whole.
const wholeProc = "/run/proc"

// shieldMachine mounts files with the values that the kubelet wants over the machine's own settings, so that it finds nothing to
// change. Pods have another /proc and see the machine's values. A failure is only logged: then the kubelet changes them.
func (m *Machine) shieldMachine() {
	whole := m.path(wholeProc)
	err := os.MkdirAll(whole, 0o700)
	if err == nil {
		err = m.Kernel.Mount("proc", whole, "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, "")
	}
	if err != nil {
		m.Logger.Warn("mount a second /proc", "err", err)
	}
	for name, value := range machineWide() {
		if err := m.shield(name, value); err != nil {
			m.Logger.Warn("keep the kubelet from changing a setting of the machine", "name", name, "err", err)
		}
	}
}

func (m *Machine) shield(name, value string) error {
	target, file := m.path("/proc/sys/"+name), m.path("/run/sysctl/"+name)
	if _, err := os.Stat(target); errors.Is(err, os.ErrNotExist) {
		return nil // the kernel was built without it
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
		return err
	}
	if err := m.Kernel.Mount(file, target, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount over %s: %w", target, err)
	}
	return nil
}
