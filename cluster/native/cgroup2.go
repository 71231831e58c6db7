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

// delegateCgroup makes the controllers of cgroup v2 usable below root. That is so on every machine; but inside a
// container the root is a cgroup like others, and one that holds processes may not hand controllers to its children.
// Then they move to a child of their own, as Docker's own image for running Docker in Docker has it.
func delegateCgroup(root string, write func(file, text string) error) error {
	have, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // cgroup v1
	}
	if err != nil {
		return fmt.Errorf("read cgroup controllers: %w", err)
	}
	if _, err := os.Stat(filepath.Join(root, "cgroup.type")); errors.Is(err, os.ErrNotExist) {
		return nil // the real root, which only the machine itself has
	}
	control := filepath.Join(root, "cgroup.subtree_control")
	handed, err := os.ReadFile(control)
	if err != nil {
		return fmt.Errorf("read cgroup controllers: %w", err)
	}
	var missing []string
	for _, c := range strings.Fields(string(have)) {
		if !strings.Contains(" "+strings.TrimSpace(string(handed))+" ", " "+c+" ") {
			missing = append(missing, "+"+c)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	err = write(control, strings.Join(missing, " "))
	if errors.Is(err, unix.EBUSY) {
		if err := evacuate(root, filepath.Join(root, "kl-init"), write); err != nil {
			return err
		}
		err = write(control, strings.Join(missing, " "))
	}
	if err != nil {
		return fmt.Errorf("hand cgroup controllers to nodes: %w", err)
	}
	return nil
}

// evacuate moves all processes of a cgroup to another one. One that ends meanwhile needs no moving, nor does a kernel
// thread, which cannot be.
func evacuate(from, to string, write func(file, text string) error) error {
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
