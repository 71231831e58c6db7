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
)

const cgroupRoot = "/sys/fs/cgroup"

// swapIsAccounted tells whether a limit of memory and swap together can be set: on cgroup v1 a boot option.
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

// cgroupDirs are the directories that a cgroup has in all hierarchies: one with v2, one a controller with v1.
func cgroupDirs(cgroup string) []string {
	dirs, _ := filepath.Glob(cgroupRoot + "/*" + cgroup) // the pattern is well-formed
	return append(dirs, cgroupRoot+cgroup)
}

// removeCgroup removes an empty cgroup and the empty ones below, everywhere.
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

// removeCgroupDir waits for the last processes in a cgroup to be gone: they are when their parent has noticed.
func removeCgroupDir(ctx context.Context, dir string) error {
	var last error
	err := poll(ctx, func() (bool, error) {
		last = os.Remove(dir) // rmdir: the files in it are not in the way
		return last == nil || errors.Is(last, fs.ErrNotExist), nil
	})
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", errors.Join(err, last))
	}
	return nil
}
