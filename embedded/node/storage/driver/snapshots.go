//go:build linux

package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/klkube/kl/embedded/node/storage"
)

// snapshots returns the directory of the store's snapshots, which no pod sees. No volume can have its name.
func (s *Store) snapshots() string { return filepath.Join(s.Dir, ".snapshots") }

// PutSnapshot makes a snapshot: see storage.Agent.
func (s *Store) PutSnapshot(ctx context.Context, id, volume string) (storage.Snapshot, error) {
	if err := errors.Join(storage.CheckID(id), storage.CheckID(volume)); err != nil {
		return storage.Snapshot{}, err
	}
	if err := s.ready(); err != nil {
		return storage.Snapshot{}, err
	}
	if err := os.MkdirAll(s.snapshots(), 0o700); err != nil {
		return storage.Snapshot{}, err
	}
	dir := filepath.Join(s.snapshots(), id)
	have, err := s.snapshot(id)
	if errors.Is(err, storage.ErrGone) {
		source := storage.Source{Kind: s.Kind, Volume: volume}
		err = s.copies.run(ctx, dir, source.String(), func(ctx context.Context) error {
			return s.copySnapshot(ctx, dir, volume)
		})
		if errors.Is(err, storage.ErrCopying) {
			return storage.Snapshot{Kind: s.Kind, ID: id, Volume: volume}, nil
		}
		if err == nil || errors.Is(err, fs.ErrExist) { // another node was faster
			have, err = s.snapshot(id)
		}
	}
	if err != nil {
		return storage.Snapshot{}, err
	}
	if have.Volume != volume {
		return storage.Snapshot{}, fmt.Errorf("%w: snapshot %s is one of volume %s", storage.ErrExists, id, have.Volume)
	}
	return have, nil
}

// copySnapshot copies a volume into the directory of a snapshot.
func (s *Store) copySnapshot(ctx context.Context, dir, volume string) error {
	o, err := s.origin(storage.Source{Kind: s.Kind, Volume: volume})
	if err != nil {
		return err
	}
	defer o.Close()
	if err := s.hasRoom(ctx, o); err != nil {
		return err
	}
	err = s.build(dir, func(temp string) (record, error) {
		r := record{Size: o.Size, Block: o.Block, Volume: volume}
		if !o.Block {
			if err := os.Mkdir(filepath.Join(temp, dataDir), 0o700); err != nil {
				return r, err
			}
		}
		var err error
		r.Changed, err = o.copyTo(ctx, temp, o.Size)
		r.Created = now()
		return r, err
	})
	return copyFailed(err)
}

// snapshot returns a snapshot that is ready; the error is ErrGone if there is none.
func (s *Store) snapshot(id string) (storage.Snapshot, error) {
	r, err := readRecord(filepath.Join(s.snapshots(), id))
	if errors.Is(err, fs.ErrNotExist) {
		return storage.Snapshot{}, fmt.Errorf("%w: snapshot %s", storage.ErrGone, id)
	}
	if err != nil {
		return storage.Snapshot{}, fmt.Errorf("read snapshot %s: %w", id, err)
	}
	return storage.Snapshot{
		Kind: s.Kind, ID: id, Volume: r.Volume, Size: r.Size, Block: r.Block, Created: r.Created, Ready: true, Changed: r.Changed,
	}, nil
}

// Snapshots returns the snapshots that are ready: see storage.Agent.
func (s *Store) Snapshots() ([]storage.Snapshot, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.snapshots())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	list := []storage.Snapshot{}
	for _, e := range entries {
		if storage.CheckID(e.Name()) != nil { // one that is being made or deleted
			continue
		}
		snapshot, err := s.snapshot(e.Name())
		if errors.Is(err, storage.ErrGone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, snapshot)
	}
	return list, nil
}

// DeleteSnapshot deletes a snapshot: see storage.Agent.
func (s *Store) DeleteSnapshot(ctx context.Context, id string) error {
	if err := storage.CheckID(id); err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		return err
	}
	dir, old := filepath.Join(s.snapshots(), id), filepath.Join(s.snapshots(), oldPrefix+id)
	s.copies.cancel(dir)
	lock, err := lockDir(dir, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, fs.ErrNotExist) {
		return removeAll(ctx, old) // an earlier removal may have been interrupted
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := os.Rename(dir, old); err != nil {
		return err
	}
	return removeAll(ctx, old)
}
