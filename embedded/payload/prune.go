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
)

// tempPrefix starts the names of directories that are being filled.
const tempPrefix = ".tmp-"

// Prune removes unpacked payloads that no cluster needs: all but those in keep (hashes, as in cluster.Node.PayloadSHA)
// and those that Ensure returned within the last unusedFor, which another kl may be about to use. It returns the hashes
// removed. It waits for a kl that is unpacking.
func Prune(ctx context.Context, home cluster.Home, keep []string, unusedFor time.Duration) ([]string, error) {
	parent := filepath.Dir(home.PayloadDir("x"))
	entries, err := os.ReadDir(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("prune payloads: %w", err)
	}
	unlock, err := lockFile(ctx, filepath.Join(parent, "lock"))
	if err != nil {
		return nil, fmt.Errorf("prune payloads: %w", err)
	}
	defer unlock()
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

// removeTemp removes what unpackings that were killed left. The caller holds the lock.
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

// removeAll is os.RemoveAll for a tree that may hold directories its owner cannot write to.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
