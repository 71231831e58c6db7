//go:build linux

// Package quota limits the size of directories with project quotas, on file systems that have them: ext4 with the features
// project and quota, or xfs, mounted with prjquota. On others [Limiter.Limit] returns [ErrUnsupported] with the reason.
//
// The file system stores a directory's project with the directory, so that no other record is needed. Limits apply to every
// process without CAP_SYS_RESOURCE, which pods do not have unless they ask for it.
package quota

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"

	"golang.org/x/sys/unix"
)

// ErrUnsupported is wrapped by the errors of file systems that cannot enforce limits; their text says what is missing.
var ErrUnsupported = errors.New("the file system enforces no project quota")

// Kernel is what a Limiter needs from the operating system.
type Kernel interface {
	// Enforced returns nil if the file system of dir enforces project quotas.
	Enforced(dir string) error
	// Project returns the project of dir, 0 for none. SetProject sets it; what is created in dir inherits it.
	Project(dir string) (uint32, error)
	SetProject(dir string, id uint32) error
	// Quota returns a project's hard limit and use in bytes on the file system of dir. SetLimit sets the limit, 0 for none.
	Quota(dir string, id uint32) (limit, used int64, err error)
	SetLimit(dir string, id uint32, limit int64) error
}

// Limiter limits directories of one file system.
type Limiter struct {
	Dir    string // any directory of the file system
	Kernel Kernel
}

// Of returns the limiter of dir's file system.
func Of(dir string) Limiter { return Limiter{Dir: dir, Kernel: Linux{}} }

// Enforced returns nil if limits are enforced, and otherwise what is missing.
func (l Limiter) Enforced() error { return l.Kernel.Enforced(l.Dir) }

// firstProject is larger than the numbers that administrators use in /etc/projid.
const firstProject = 1 << 30

// Limit sets the maximum size of dir and all in it, in bytes, rounded up to whole KiB. Files from before the first call are
// not counted.
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

// free returns an unused project. Other nodes and clusters may have volumes on the same file system.
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
	return 0, errors.New("find a free project: a thousand are in use")
}

// Forget removes the limit of a directory that is about to be deleted.
func (l Limiter) Forget(dir string) error {
	if l.Enforced() != nil {
		return nil
	}
	id, err := l.Kernel.Project(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read project of %s: %w", dir, err)
	}
	if id < firstProject {
		return nil
	}
	return l.Kernel.SetLimit(dir, id, 0)
}

// Used returns the bytes in a limited directory; false if the file system does not count them.
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

// withDir calls f with a file descriptor of dir.
func withDir(dir string, f func(fd int) error) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return errors.Join(f(fd), unix.Close(fd))
}
