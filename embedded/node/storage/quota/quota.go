//go:build linux

// Package quota keeps directories within a size with project quotas, where the file system has them: ext4 with the
// features project and quota, or xfs, mounted with prjquota.
//
//	limiter := quota.Of("/var/lib/kl/volumes")
//	err := limiter.Limit(dir, 1<<30) // ErrUnsupported with the reason where nothing enforces it
//	used, err := limiter.Used(dir)
//
// A directory's project is stored in the directory, so that nothing is to be remembered elsewhere. Limits hold for
// everybody without CAP_SYS_RESOURCE, which pods do not have unless they ask for it.
package quota

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"

	"golang.org/x/sys/unix"
)

// ErrUnsupported is wrapped by what a file system cannot do; its text says what it lacks.
var ErrUnsupported = errors.New("the file system enforces no project quota")

// Kernel is what a Limiter asks of the operating system.
type Kernel interface {
	// Enforced returns nil if the file system of dir enforces project quotas.
	Enforced(dir string) error
	// Project is the project of dir, 0 for none; SetProject has what is made in dir inherit it.
	Project(dir string) (uint32, error)
	SetProject(dir string, id uint32) error
	// Quota is a project's hard limit and use in bytes on the file system of dir; SetLimit sets the limit, 0 for none.
	Quota(dir string, id uint32) (limit, used int64, err error)
	SetLimit(dir string, id uint32, limit int64) error
}

// Limiter limits directories of one file system.
type Limiter struct {
	Dir    string // any directory of it
	Kernel Kernel
}

// Of is the limiter of dir's file system.
func Of(dir string) Limiter { return Limiter{Dir: dir, Kernel: Linux{}} }

// Enforced returns nil if limits hold, and otherwise what is missing.
func (l Limiter) Enforced() error { return l.Kernel.Enforced(l.Dir) }

// firstProject keeps away from the small numbers that people give in /etc/projid.
const firstProject = 1 << 30

// Limit makes bytes the most that dir and all below it may hold; what is in it already must have been made after the first
// Limit. It is rounded up to whole KiB.
func (l Limiter) Limit(dir string, bytes int64) error {
	if err := l.Enforced(); err != nil {
		return err
	}
	id, err := l.Kernel.Project(dir)
	if err != nil {
		return fmt.Errorf("read project of %s: %w", dir, err)
	}
	if id == 0 {
		if id, err = l.free(dir); err != nil {
			return err
		}
	}
	if err := l.Kernel.SetLimit(dir, id, bytes); err != nil {
		return fmt.Errorf("limit %s: %w", dir, err)
	}
	if err := l.Kernel.SetProject(dir, id); err != nil {
		return errors.Join(fmt.Errorf("set project of %s: %w", dir, err), l.Kernel.SetLimit(dir, id, 0))
	}
	return nil
}

// free finds a project that nobody uses: other nodes and clusters may keep volumes on the same file system.
func (l Limiter) free(dir string) (uint32, error) {
	h := fnv.New32a()
	h.Write([]byte(dir))
	for id, tries := h.Sum32()|firstProject, 0; tries < 1000; id, tries = (id+1)|firstProject, tries+1 {
		limit, used, err := l.Kernel.Quota(dir, id)
		if err != nil {
			return 0, fmt.Errorf("read quota: %w", err)
		}
		if limit == 0 && used == 0 && id != 1<<32-1 {
			return id, nil
		}
	}
	return 0, errors.New("find a free project: a thousand are taken")
}

// Forget lifts the limit of a directory that is about to be removed.
func (l Limiter) Forget(dir string) error {
	if l.Enforced() != nil {
		return nil
	}
	id, err := l.Kernel.Project(dir)
	if errors.Is(err, os.ErrNotExist) || id < firstProject {
		return nil
	}
	return l.Kernel.SetLimit(dir, id, 0)
}

// Used is what a limited directory holds; false if the file system does not count it.
func (l Limiter) Used(dir string) (int64, bool) {
	if l.Enforced() != nil {
		return 0, false
	}
	id, err := l.Kernel.Project(dir)
	if err != nil || id < firstProject {
		return 0, false
	}
	_, used, err := l.Kernel.Quota(dir, id)
	return used, err == nil
}

// Linux is the running kernel.
type Linux struct{}

var _ Kernel = Linux{}

// withDir calls f with a descriptor of dir.
func withDir(dir string, f func(fd int) error) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return errors.Join(f(fd), unix.Close(fd))
}
