package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const cgroupMount = "/sys/fs/cgroup"

// prepareCgroups makes CgroupRoot usable and returns the version of cgroups, 1 or 2.
func (m *Machine) prepareCgroups() (int, error) {
	if _, err := os.Stat(m.path(cgroupMount + "/cgroup.controllers")); err == nil {
		return 2, m.prepareUnified()
	}
	return 1, m.prepareHierarchies()
}

// prepareHierarchies creates the kubelet's root in every hierarchy of cgroup v1: the kubelet requires all of them when it
// starts, and creates none.
func (m *Machine) prepareHierarchies() error {
	entries, err := os.ReadDir(m.path(cgroupMount))
	if err != nil {
		return err
	}
	made := 0
	for _, e := range entries {
		hierarchy := m.path(filepath.Join(cgroupMount, e.Name()))
		if info, err := os.Stat(hierarchy); err != nil || !info.IsDir() || e.Type()&os.ModeSymlink != 0 {
			continue // cpu → cpu,cpuacct
		}
		root := filepath.Join(hierarchy, CgroupRoot)
		if err := os.MkdirAll(root, 0o755); err != nil {
			return err
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // empty in a new cpuset, which no process may enter then
			if err := inherit(hierarchy, root, file); err != nil {
				return err
			}
		}
		made++
	}
	if made == 0 {
		return fmt.Errorf("no cgroup hierarchy below %s", cgroupMount)
	}
	return nil
}

// inherit copies a setting of a cgroup to its child if the child has none. A hierarchy without the file is skipped.
func inherit(parent, child, file string) error {
	value, err := os.ReadFile(filepath.Join(parent, file))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if have, err := os.ReadFile(filepath.Join(child, file)); err == nil && strings.TrimSpace(string(have)) != "" {
		return nil
	}
	return os.WriteFile(filepath.Join(child, file), value, 0o644)
}

// prepareUnified prepares cgroup v2, where only leaves may have processes: all processes are moved to a leaf, then the
// controllers are enabled for the kubelet's root and its children.
func (m *Machine) prepareUnified() error {
	root := m.path(cgroupMount)
	leaf, pods := filepath.Join(root, "kl"), filepath.Join(root, CgroupRoot)
	for _, dir := range []string{leaf, pods} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if err != nil {
		return err
	}
	// A process that is forked while the list is read is missed. Then enabling fails with EBUSY, and the move is repeated.
	for attempt := 0; ; attempt++ {
		if err := moveProcesses(root, leaf); err != nil {
			return err
		}
		err := enable(root, string(controllers))
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EBUSY) || attempt == 10 {
			return fmt.Errorf("enable controllers: %w", err)
		}
	}
	return enable(pods, string(controllers))
}

// moveProcesses moves all processes of a cgroup to another one. Those that end meanwhile are ignored.
func moveProcesses(from, to string) error {
	pids, err := os.ReadFile(filepath.Join(from, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, pid := range strings.Fields(string(pids)) {
		if pid == "0" {
			continue // a process of another PID namespace
		}
		err := writeExisting(filepath.Join(to, "cgroup.procs"), pid)
		if err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("move process %s: %w", pid, err)
		}
	}
	return nil
}

// enable enables the controllers for the children of a cgroup, one by one: the kernel may list one that it cannot delegate.
func enable(dir, controllers string) error {
	var errs []error
	for _, c := range strings.Fields(controllers) {
		err := writeExisting(filepath.Join(dir, "cgroup.subtree_control"), "+"+c)
		if errors.Is(err, syscall.EBUSY) {
			return err
		}
		if err != nil && required(c) {
			errs = append(errs, fmt.Errorf("%s: %w", c, err))
		}
	}
	return errors.Join(errs...)
}

// required reports whether the kubelet refuses to start without the controller.
func required(controller string) bool {
	switch controller {
	case "cpu", "cpuset", "memory", "pids":
		return true
	}
	return false
}
