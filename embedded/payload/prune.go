package payload

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// Names in the directory of all payloads.
const (
	tempPrefix = ".tmp-" // of directories that are being filled
	lockName   = "lock"  // held while a payload is unpacked or removed
)

// Prune removes unpacked payloads that no cluster needs: all but those in keep (hashes, as in cluster.Node.PayloadSHA)
// and those that Ensure returned within the last unusedFor, which another kl may be about to use. It waits for a kl that is
// unpacking, and returns the hashes it removed.
func Prune(ctx context.Context, home cluster.Home, keep []string, unusedFor time.Duration) ([]string, error) {
	parent := filepath.Dir(home.PayloadDir("x"))
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("prune payloads: %w", err)
	}
	lock, err := statefile.WaitLock(ctx, filepath.Join(parent, lockName), nil)
	if err != nil {
		return nil, fmt.Errorf("prune payloads: %w", err)
	}
	defer lock.Unlock()
	errs := []error{removeTemp(parent)}
	var removed []string
	for _, e := range entries {
		dir := filepath.Join(parent, e.Name())
		if !e.IsDir() || strings.HasPrefix(e.Name(), tempPrefix) || slices.Contains(keep, e.Name()) {
			continue
		}
		if info, err := os.Stat(filepath.Join(dir, markerName)); err == nil && time.Since(info.ModTime()) < unusedFor {
			continue
		}
		if err := removeAll(dir); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, e.Name())
	}
	if err := errors.Join(errs...); err != nil {
		return removed, fmt.Errorf("prune payloads: %w", err)
	}
	return removed, nil
}

// removeTemp removes the directories of unpackings that were killed. The caller holds the lock.
func removeTemp(parent string) error {
	left, err := filepath.Glob(filepath.Join(parent, tempPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		err = errors.Join(err, removeAll(dir))
	}
	return err
}

// removeAll is os.RemoveAll for a tree that may contain directories its owner cannot write to.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	// Errors of the walk show up again, with the path, when the tree is removed.
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
