//go:build linux

package native

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// delegateCgroup enables all controllers of cgroup v2 for the children of root. On the machine itself they are enabled
// already; but inside a container the root is an ordinary cgroup, and one that holds processes may not enable controllers
// for its children. Its processes are then moved to a child of their own, as the docker:dind image does.
func delegateCgroup(root string, write func(file, text string) error) error {
	have, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // cgroup v1
	}
	if err != nil {
		return fmt.Errorf("read cgroup controllers: %w", err)
	}
	if _, err := os.Stat(filepath.Join(root, "cgroup.type")); errors.Is(err, os.ErrNotExist) {
		return nil // the root cgroup of the machine itself
	}
	control := filepath.Join(root, "cgroup.subtree_control")
	enabled, err := os.ReadFile(control)
	if err != nil {
		return fmt.Errorf("read cgroup controllers: %w", err)
	}
	var missing []string
	for _, c := range strings.Fields(string(have)) {
		if !strings.Contains(" "+strings.TrimSpace(string(enabled))+" ", " "+c+" ") {
			missing = append(missing, "+"+c)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	err = write(control, strings.Join(missing, " "))
	if errors.Is(err, unix.EBUSY) {
		if err := moveProcesses(root, filepath.Join(root, "kl-init"), write); err != nil {
			return err
		}
		err = write(control, strings.Join(missing, " "))
	}
	if err != nil {
		return fmt.Errorf("enable cgroup controllers for nodes: %w", err)
	}
	return nil
}

// moveProcesses moves all processes of a cgroup to another one. It ignores processes that end in the meantime and kernel
// threads, which cannot be moved.
func moveProcesses(from, to string, write func(file, text string) error) error {
	if err := os.Mkdir(to, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make cgroup: %w", err)
	}
	pids, err := os.ReadFile(filepath.Join(from, "cgroup.procs"))
	if err != nil {
		return fmt.Errorf("list processes of cgroup: %w", err)
	}
	for _, pid := range strings.Fields(string(pids)) {
		err := write(filepath.Join(to, "cgroup.procs"), pid)
		if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("move process %s to cgroup %s: %w", pid, to, err)
		}
	}
	return nil
}

func writeFile(file, text string) error { return os.WriteFile(file, []byte(text), 0o644) }
