package layers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// snapshotter is overlayfs with its layers in a Store: the directory of a layer's snapshot is a symbolic link there. It follows
// containerd's protocol for remote snapshotters (docs/snapshotters/remote-snapshotter.md): for a layer that the store has, Prepare
// returns errdefs.ErrAlreadyExists, and containerd neither fetches nor unpacks it.
type snapshotter struct {
	snapshots.Snapshotter
	store  *Store
	logger *slog.Logger

	mu      sync.Mutex
	writers map[string]*Writer // of layers that are being unpacked, by the key of the snapshot
	settle  sync.WaitGroup
}

var _ snapshots.Cleaner = (*snapshotter)(nil)

// NewSnapshotter puts the layers of an overlayfs snapshotter into a store. If the store fails, for want of space, a layer is unpacked
// where it would be without one. Layers that no snapshot of this node uses any more are released.
func NewSnapshotter(ctx context.Context, overlay snapshots.Snapshotter, store *Store, logger *slog.Logger) (snapshots.Snapshotter, error) {
	s := &snapshotter{Snapshotter: overlay, store: store, logger: logger, writers: map[string]*Writer{}}
	if err := s.releaseUnused(ctx); err != nil {
		return nil, fmt.Errorf("look for layers that are not used: %w", err)
	}
	return s, nil
}

// Prepare makes the snapshot of a layer that the store has, or a directory in the store to unpack it into. A snapshot that is no layer
// is overlayfs' own.
func (s *snapshotter) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	var want snapshots.Info
	for _, opt := range opts {
		if err := opt(&want); err != nil {
			return nil, err
		}
	}
	mounts, err := s.Snapshotter.Prepare(ctx, key, parent, opts...)
	id := layerOf(want)
	if err != nil || id == "" || want.Labels[snapshots.LabelSnapshotRef] == "" {
		return mounts, err
	}
	dir, err := filesOf(mounts)
	if err != nil || !plain(dir) {
		return mounts, err
	}
	shared, err := s.store.Use(ctx, id)
	var writer *Writer
	if err == nil && shared == "" {
		writer, err = s.store.Begin(id)
	}
	if err != nil {
		s.logger.WarnContext(ctx, "a layer is not shared", "layer", id, "error", err)
		return mounts, nil //nolint:nilerr // it is unpacked here instead
	}
	undo := func(err error) ([]mount.Mount, error) {
		return nil, errors.Join(err, s.Remove(context.WithoutCancel(ctx), key))
	}
	if writer != nil {
		s.mu.Lock()
		s.writers[key] = writer
		s.mu.Unlock()
		if err := errors.Join(link(writer.Files(), dir), link(writer.Work(), workOf(dir))); err != nil {
			return undo(err)
		}
		return mounts, nil
	}
	if err := link(shared, dir); err != nil {
		return undo(err)
	}
	if err := s.Snapshotter.Commit(ctx, key+" shared", key, opts...); err != nil {
		return undo(err)
	}
	return nil, fmt.Errorf("layer %s: %w", id, errdefs.ErrAlreadyExists)
}

// Commit publishes a layer that was unpacked; containerd has checked its digest before.
func (s *snapshotter) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	w := s.take(key)
	if w == nil {
		return s.Snapshotter.Commit(ctx, name, key, opts...)
	}
	mounts, err := s.Mounts(ctx, key)
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	dir, err := filesOf(mounts)
	if err != nil {
		return errors.Join(err, w.Abort())
	}
	shared, err := w.Publish(ctx)
	if err != nil {
		return err
	}
	s.settle.Go(func() { s.store.Settle(s.logger, w.id) })
	if err := errors.Join(link(shared, dir), os.Remove(workOf(dir))); err != nil {
		return err
	}
	return s.Snapshotter.Commit(ctx, name, key, opts...)
}

// Remove gives a layer back that no other snapshot of the node uses.
func (s *snapshotter) Remove(ctx context.Context, key string) error {
	info, err := s.Stat(ctx, key)
	if err != nil {
		return err
	}
	if err := s.Snapshotter.Remove(ctx, key); err != nil {
		return err
	}
	if w := s.take(key); w != nil {
		return w.Abort()
	}
	id := layerOf(info)
	if id == "" {
		return nil
	}
	used, err := s.used(ctx)
	if err == nil && !used[id] {
		err = s.store.Release(ctx, id)
	}
	if err != nil { // the next start tries again
		s.logger.WarnContext(ctx, "release layer", "layer", id, "error", err)
	}
	return nil
}

// Cleanup removes what overlayfs has put off.
func (s *snapshotter) Cleanup(ctx context.Context) error {
	if c, ok := s.Snapshotter.(snapshots.Cleaner); ok {
		return c.Cleanup(ctx)
	}
	return nil
}

// Close gives up layers that are being unpacked.
func (s *snapshotter) Close() error {
	s.mu.Lock()
	writers := s.writers
	s.writers = map[string]*Writer{}
	s.mu.Unlock()
	var errs []error
	for _, w := range writers {
		errs = append(errs, w.Abort())
	}
	s.settle.Wait()
	return errors.Join(append(errs, s.Snapshotter.Close())...)
}

func (s *snapshotter) take(key string) *Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.writers[key]
	delete(s.writers, key)
	return w
}

// used tells which layers snapshots of the node are of.
func (s *snapshotter) used(ctx context.Context) (map[digest.Digest]bool, error) {
	used := map[digest.Digest]bool{}
	err := s.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		used[layerOf(i)] = true
		return nil
	})
	if errdefs.IsNotFound(err) { // there never was a snapshot
		err = nil
	}
	return used, err
}

// releaseUnused gives layers back whose snapshots went while the store could not be written.
func (s *snapshotter) releaseUnused(ctx context.Context) error {
	mine, err := s.store.Used()
	if err != nil {
		return err
	}
	used, err := s.used(ctx)
	if err != nil {
		return err
	}
	for _, id := range mine {
		if !used[id] {
			if err := s.store.Release(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// layerOf returns the diff ID of the layer that a snapshot is of; empty if it is of none.
func layerOf(i snapshots.Info) digest.Digest {
	return digest.Digest(i.Labels[snapshots.LabelSnapshotDiffID])
}

// filesOf returns the directory that holds the files of a snapshot, from how overlayfs mounts it.
func filesOf(mounts []mount.Mount) (string, error) {
	for _, m := range mounts {
		if m.Type == "bind" {
			return m.Source, nil
		}
		for _, o := range m.Options {
			if dir, ok := strings.CutPrefix(o, "upperdir="); ok {
				return dir, nil
			}
		}
	}
	return "", fmt.Errorf("snapshot has no directory of its own: %v", mounts)
}

func workOf(dir string) string { return strings.TrimSuffix(dir, filesName) + workName }

// plain reports whether the root directory of a snapshot belongs to root. containerd gives it the owner of the layer below, and the same
// layer over another one would have another owner.
func plain(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0 && st.Gid == 0
}

// link replaces an empty directory, or a link, by a link.
func link(target, at string) error {
	if err := os.Remove(at); err != nil {
		return err
	}
	return os.Symlink(target, at)
}
