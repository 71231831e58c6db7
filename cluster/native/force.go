//go:build linux

package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
)

// force ends a node as halt does at once, without reading any of its files: they may be damaged. What the kernel holds for a
// node is named after its directory. The caller holds the node's lock, if it has a directory.
func (b bundle) force(ctx context.Context) error {
	if err := b.killSupervisors(ctx); err != nil { // first: they restart the node
		return fmt.Errorf("end the node's supervisor: %w", err)
	}
	cgroup := b.scope().cgroup() + "/" + b.name()
	if err := killCgroup(ctx, cgroup); err != nil {
		return fmt.Errorf("end the node's processes: %w", err)
	}
	return errors.Join(
		os.RemoveAll(filepath.Join(b.scope().runc(), b.name())), b.scope().disconnect(b.name()), removeCgroup(ctx, cgroup))
}

// killSupervisors ends every process that was started as this node's supervisor.
func (b bundle) killSupervisors(ctx context.Context) error {
	all, err := supervisors()
	if err != nil {
		return err
	}
	for pid, of := range all {
		if of != b {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		if err := waitExit(ctx, pid); err != nil {
			return err
		}
	}
	return nil
}

// supervisors returns the processes that were started as supervisors of nodes, and of which node each.
func supervisors() (map[int]bundle, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	found := map[int]bundle{}
	for _, file := range lines {
		line, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(line), "\x00") // the last one is empty
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && len(args) == 4 && args[1] == SuperviseCommand {
			found[pid] = bundle{args[2]}
		}
	}
	return found, nil
}

// killCgroup kills all processes of a cgroup and of those below it, frozen ones too, and waits until they are gone.
func killCgroup(ctx context.Context, cgroup string) error {
	return wait.PollUntilContextCancel(ctx, pollInterval, true, func(context.Context) (bool, error) {
		found, err := signalCgroup(cgroup)
		return !found, err
	})
}

// signalCgroup is one round of killCgroup. It reports whether there were processes.
func signalCgroup(cgroup string) (found bool, err error) {
	for _, dir := range cgroupDirs(cgroup) {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist), err == nil && !e.IsDir():
				return nil
			case err == nil && killProcesses(path):
				found = true
			}
			return err
		})
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// killProcesses kills the processes of one cgroup and reports whether there were any. A cgroup that is gone has none.
func killProcesses(dir string) (found bool) {
	pids, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for _, text := range strings.Fields(string(pids)) {
		pid, err := strconv.Atoi(text)
		if err != nil || pid <= 1 { // 0: a process that this process cannot see
			continue
		}
		found = true
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended since
	}
	if !found {
		return false
	}
	for file, text := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} { // v1, v2: what is frozen does not end
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			_ = writeFile(filepath.Join(dir, file), text) // the next look finds the processes again
		}
	}
	return found
}
