//go:build linux

package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/klkube/kl/cluster/statefile"
	"github.com/klkube/kl/embedded/node/storage"
)

// maxName is how many bytes of an ID are in a temporary name.
const maxName = 128

// build makes the directory of a volume or snapshot: under another name, which fill completes, and which is locked, so that no node
// takes it for what a crash left.
func (s *Store) build(dir string, fill func(temp string) (record, error)) (err error) {
	parent, id := filepath.Split(dir)
	temp, lock, err := newTemp(parent, id)
	if err != nil {
		return err
	}
	defer lock.Close()
	r, err := fill(temp)
	if err == nil {
		err = writeRecord(temp, r)
	}
	if err == nil {
		err = os.Rename(temp, dir) // which fails if the directory exists
	}
	if err != nil {
		return errors.Join(err, s.Quota.Forget(filepath.Join(temp, dataDir)), os.RemoveAll(temp))
	}
	return statefile.SyncDir(parent)
}

// newTemp makes a directory with a temporary name and locks it.
func newTemp(parent, id string) (string, *os.File, error) {
	for {
		temp, err := os.MkdirTemp(parent, newPrefix+id[:min(len(id), maxName)]+"@*")
		if err != nil {
			return "", nil, err
		}
		lock, err := lockDir(temp, unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, storage.ErrInUse) { // a sweep was faster
			continue
		}
		if err == nil {
			err = os.Chmod(temp, 0o711)
		}
		if err != nil {
			return "", nil, errors.Join(err, os.RemoveAll(temp))
		}
		return temp, lock, nil
	}
}

// lockDir locks a directory, as flock(2) does, for all nodes of the machine, until it is closed or the process ends. The error is
// ErrInUse if somebody else has locked it, and fs.ErrNotExist if it is not at path, or no longer when it is locked.
func lockDir(path string, how int) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(storage.ErrInUse, f.Close())
	}
	if err == nil {
		err = sameDir(f, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", filepath.Base(path), err), f.Close())
	}
	return f, nil
}

// sameDir returns fs.ErrNotExist unless an open directory is the one at path.
func sameDir(f *os.File, path string) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(path)
	if err == nil && !os.SameFile(mine, there) {
		err = fs.ErrNotExist
	}
	return err
}

// sweep finishes removals that were interrupted when the node stopped, and removes what was not completed.
func (s *Store) sweep(ctx context.Context) error {
	var errs []error
	for _, dir := range []string{s.Dir, s.snapshots()} {
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		errs = append(errs, err)
		for _, e := range entries {
			switch path := filepath.Join(dir, e.Name()); {
			case strings.HasPrefix(e.Name(), oldPrefix):
				errs = append(errs, removeAll(ctx, path))
			case strings.HasPrefix(e.Name(), newPrefix):
				errs = append(errs, s.sweepNew(ctx, path))
			}
		}
	}
	return errors.Join(errs...)
}

// sweepNew removes what a process that has ended was building.
func (s *Store) sweepNew(ctx context.Context, path string) error {
	lock, err := lockDir(path, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, storage.ErrInUse) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	return errors.Join(s.Quota.Forget(filepath.Join(path, dataDir)), removeAll(ctx, path))
}
