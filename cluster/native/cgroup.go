//go:build linux

package native

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/util/wait"
)

const cgroupRoot = "/sys/fs/cgroup"

// swapIsAccounted reports whether the kernel can limit memory and swap together, which on cgroup v1 is a boot option.
func swapIsAccounted() bool {
	if _, err := os.Stat(cgroupRoot + "/cgroup.controllers"); err == nil { // v2
		if _, err := os.Stat("/proc/swaps"); err != nil {
			return false
		}
		own, _ := filepath.Glob(cgroupRoot + "/*/memory.swap.max")
		return len(own) > 0
	}
	_, err := os.Stat(cgroupRoot + "/memory/memory.memsw.limit_in_bytes")
	return err == nil
}

// cgroupDirs returns the directories of a cgroup in all hierarchies: one with v2, one for each controller with v1.
func cgroupDirs(cgroup string) []string {
	dirs, _ := filepath.Glob(cgroupRoot + "/*" + cgroup) // the pattern is well-formed
	return append(dirs, cgroupRoot+cgroup)
}

// removeCgroup removes an empty cgroup and the empty ones below it from all hierarchies.
func removeCgroup(ctx context.Context, cgroup string) error {
	var errs []error
	for _, dir := range cgroupDirs(cgroup) {
		var found []string
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				found = append(found, path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		errs = append(errs, err)
		for _, path := range slices.Backward(found) { // children first
			errs = append(errs, removeCgroupDir(ctx, path))
		}
	}
	return errors.Join(errs...)
}

// removeCgroupDir removes the directory of a cgroup. It can only be removed once the parents of its last processes have
// reaped them.
func removeCgroupDir(ctx context.Context, dir string) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(context.Context) (bool, error) {
		last = os.Remove(dir) // rmdir(2) ignores the files of a cgroup
		return last == nil || errors.Is(last, fs.ErrNotExist), nil
	})
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", errors.Join(err, last))
	}
	return nil
}
