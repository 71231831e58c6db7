package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster/statefile"
)

// Collect removes layers that no node has used for a time, and what was left unfinished. A node that alive does not know uses nothing
// any more; nil knows all. It returns the layers that it removed.
func (s *Store) Collect(ctx context.Context, unused time.Duration, alive func(node string) bool) ([]digest.Digest, error) {
	errs := []error{s.sweep()}
	entries, err := os.ReadDir(s.entries())
	errs = append(errs, err)
	var removed []digest.Digest
	for _, e := range entries {
		id := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		if id.Validate() != nil {
			continue
		}
		gone, err := s.collect(ctx, id, unused, alive)
		if err != nil {
			errs = append(errs, fmt.Errorf("collect layer %s: %w", id, err))
		}
		if gone {
			removed = append(removed, id)
		}
	}
	return removed, errors.Join(errs...)
}

// collect removes a layer if nobody uses it. One that somebody holds is left.
func (s *Store) collect(ctx context.Context, id digest.Digest, unused time.Duration, alive func(string) bool) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	lock, err := statefile.TryLock(s.lockFile(id))
	if errors.Is(err, statefile.ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	last, users, err := s.users(id, alive)
	if err != nil || users > 0 || time.Since(last) < unused {
		lock.Unlock()
		return false, err
	}
	if err := s.discard(id); err != nil {
		lock.Unlock()
		return false, err
	}
	lock.Remove()
	return true, os.RemoveAll(s.lockFile(id) + addSuffix)
}

// users counts the nodes that use a layer, and tells when that last changed. Nodes that are not alive are taken off.
func (s *Store) users(id digest.Digest, alive func(string) bool) (last time.Time, n int, err error) {
	dir := filepath.Join(s.entry(id), refsName)
	info, err := os.Stat(dir)
	if err != nil {
		return last, 0, err
	}
	refs, err := os.ReadDir(dir)
	if err != nil {
		return last, 0, err
	}
	for _, r := range refs {
		if alive == nil || alive(r.Name()) {
			n++
			continue
		}
		if err := os.Remove(filepath.Join(dir, r.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return last, 0, err
		}
	}
	return info.ModTime(), n, nil
}

// sweep removes what processes that are gone were unpacking or removing.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.unfinished())
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		dir := filepath.Join(s.unfinished(), e.Name())
		lock, err := statefile.TryLockDir(dir)
		switch {
		case errors.Is(err, statefile.ErrLocked) || errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			errs = append(errs, err)
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) < settleTime {
			lock.Unlock() // it may have been made a moment ago, and not be locked yet
			continue
		}
		errs = append(errs, os.RemoveAll(dir))
		lock.Unlock()
	}
	return errors.Join(errs...)
}

// settleTime is how long a new directory may take to be locked by who made it.
const settleTime = time.Minute
