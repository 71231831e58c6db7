//go:build linux

package driver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/klkube/kl/cluster/statefile"
	"github.com/klkube/kl/embedded/node/storage"
	"github.com/klkube/kl/embedded/node/storage/loop"
)

// limiter is the part of quota.Limiter that a Store uses.
type limiter interface {
	Enforced() error
	Limit(dir string, bytes int64) error
	Forget(dir string) error
	Used(dir string) (int64, bool)
}

// Store keeps the volumes of one kind. It is safe for concurrent use.
type Store struct {
	Kind  storage.Kind
	Dir   string // created if missing, unless Mount is set
	Quota limiter
	// Mount is set if Dir must be a mount point: the error if it is not, with what to do.
	Mount string

	mu     sync.Mutex // held while volumes are created or renamed, but not while data is copied
	copies copies
}

const (
	dataDir    = "data"
	imageFile  = "block.img"
	recordFile = "volume.json"
	newPrefix  = ".new-"
	oldPrefix  = ".deleted-"
)

// record is volume.json, of a volume or a snapshot.
type record struct {
	Size    int64    `json:"size"`
	Block   bool     `json:"block,omitempty"`
	Changed []string `json:"changed,omitempty"` // while it was copied

	// Of a snapshot: see storage.Snapshot.
	Volume  string    `json:"volume,omitempty"`
	Created time.Time `json:"created,omitzero"`
}

// ready creates Dir, or returns why it is not available.
func (s *Store) ready() error {
	if s.Mount == "" {
		return os.MkdirAll(s.Dir, 0o711)
	}
	mounted, err := mountinfo.Mounted(s.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", s.Mount, err)
	}
	if !mounted {
		return errors.New(s.Mount)
	}
	return nil
}

// Put creates or grows a volume: see storage.Agent. from has the volume's Source, if it has one.
func (s *Store) Put(ctx context.Context, v storage.Volume, from *Store) (storage.Volume, error) {
	if err := storage.CheckID(v.ID); err != nil {
		return storage.Volume{}, err
	}
	if v.Size <= 0 {
		return storage.Volume{}, fmt.Errorf("%w: size %d", storage.ErrInvalid, v.Size)
	}
	if err := s.ready(); err != nil {
		return storage.Volume{}, err
	}
	if v.Source != nil {
		if err := s.putCopy(ctx, v, from); err != nil {
			return storage.Volume{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	have, err := s.Volume(v.ID)
	if errors.Is(err, storage.ErrGone) {
		if err := s.make(v); err != nil {
			return storage.Volume{}, fmt.Errorf("create volume: %w", err)
		}
		return s.Volume(v.ID)
	}
	if err == nil && have.Block != v.Block {
		err = fmt.Errorf("%w: %s exists with another volumeMode", storage.ErrInvalid, v.ID)
	}
	if err != nil || have.Size >= v.Size {
		return have, err
	}
	if err := s.grow(have, v.Size); err != nil {
		return storage.Volume{}, fmt.Errorf("grow volume: %w", err)
	}
	return s.Volume(v.ID)
}

// putCopy makes a volume with a Source, unless it exists.
func (s *Store) putCopy(ctx context.Context, v storage.Volume, from *Store) error {
	_, err := s.Volume(v.ID)
	if !errors.Is(err, storage.ErrGone) {
		return err
	}
	err = s.copies.run(ctx, filepath.Join(s.Dir, v.ID), v.Source.String(), func(ctx context.Context) error {
		return s.copyVolume(ctx, v, from)
	})
	if errors.Is(err, fs.ErrExist) { // another node was faster
		return nil
	}
	return err
}

// grow makes a volume larger.
func (s *Store) grow(v storage.Volume, size int64) error {
	switch {
	case v.Block:
		if err := growImage(s.image(v.ID), size); err != nil {
			return err
		}
	case v.Limit.Enforced:
		if err := s.Quota.Limit(s.data(v.ID), size); err != nil {
			return err
		}
	}
	return writeRecord(filepath.Join(s.Dir, v.ID), record{Size: size, Block: v.Block})
}

func (s *Store) make(v storage.Volume) error {
	return s.build(filepath.Join(s.Dir, v.ID), func(temp string) (record, error) {
		r := record{Size: v.Size, Block: v.Block}
		if v.Block {
			return r, makeImage(filepath.Join(temp, imageFile), v.Size)
		}
		return r, s.makeData(filepath.Join(temp, dataDir), v)
	})
}

// makeData creates the directory that pods see.
func (s *Store) makeData(data string, v storage.Volume) error {
	mode := cmp.Or(v.Mode, storage.DefaultMode) & fs.ModePerm
	if err := errors.Join(os.Mkdir(data, 0o700), os.Chmod(data, mode)); err != nil {
		return err
	}
	if s.Quota.Enforced() != nil {
		return nil
	}
	return s.Quota.Limit(data, v.Size)
}

func writeRecord(dir string, r record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return statefile.Write(filepath.Join(dir, recordFile), text, 0o600)
}

// readRecord returns the record of a volume or snapshot; the error is fs.ErrNotExist if there is none.
func readRecord(dir string) (r record, err error) {
	return r, statefile.ReadJSON(filepath.Join(dir, recordFile), &r)
}

// Volume returns a volume; the error is ErrGone if there is none.
func (s *Store) Volume(id string) (storage.Volume, error) {
	if err := storage.CheckID(id); err != nil {
		return storage.Volume{}, err
	}
	r, err := readRecord(filepath.Join(s.Dir, id))
	if errors.Is(err, fs.ErrNotExist) {
		return storage.Volume{}, fmt.Errorf("%w: %s", storage.ErrGone, id)
	}
	if err != nil {
		return storage.Volume{}, fmt.Errorf("read volume %s: %w", id, err)
	}
	limit := s.limit()
	if r.Block {
		limit = storage.Limit{Enforced: true} // a device has an end
	}
	return storage.Volume{Kind: s.Kind, ID: id, Size: r.Size, Block: r.Block, Changed: r.Changed, Limit: limit}, nil
}

// limit reports whether the size of new volumes is enforced.
func (s *Store) limit() storage.Limit {
	if err := s.Quota.Enforced(); err != nil {
		return storage.Limit{Reason: err.Error()}
	}
	return storage.Limit{Enforced: true}
}

// data returns the directory of a volume that pods see.
func (s *Store) data(id string) string { return filepath.Join(s.Dir, id, dataDir) }

// image returns the file of a block volume.
func (s *Store) image(id string) string { return filepath.Join(s.Dir, id, imageFile) }

// Delete deletes a volume: see storage.Agent. It may take long.
func (s *Store) Delete(ctx context.Context, id string) error {
	if err := storage.CheckID(id); err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		return err
	}
	s.copies.cancel(filepath.Join(s.Dir, id))
	old, err := s.retire(id)
	if err != nil || old == "" {
		return err
	}
	return removeAll(ctx, old)
}

// retire renames a volume so that it no longer exists. It returns the directory to remove; empty if there is none.
func (s *Store) retire(id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir, old := filepath.Join(s.Dir, id), filepath.Join(s.Dir, oldPrefix+id)
	lock, err := lockDir(dir, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		defer lock.Close()
		if err := s.release(id); err != nil {
			return "", err
		}
		return old, os.Rename(dir, old)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	return old, nil // an earlier removal was interrupted
}

// release makes a volume ready to be deleted; the error is ErrInUse if a pod has it: of this node, or a block volume of any.
func (s *Store) release(id string) error {
	attached, err := loop.Attached(s.image(id))
	if err == nil && attached {
		return storage.ErrInUse
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if at, err := mountedFrom(filepath.Join(id, dataDir)); err != nil || at != "" {
		return errors.Join(err, storage.ErrInUse)
	}
	return s.Quota.Forget(s.data(id))
}

// removeAll is os.RemoveAll that stops between entries when ctx is done.
func removeAll(ctx context.Context, dir string) error {
	for _, part := range []string{filepath.Join(dir, dataDir), dir} {
		entries, err := os.ReadDir(part)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := os.RemoveAll(filepath.Join(part, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(dir)
}

// mountedFrom returns where a directory or device whose path has this suffix is mounted on the node, by bind or mountReadOnly; empty if
// it is not.
func mountedFrom(end string) (string, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		found := strings.HasSuffix(m.Root, "/"+end) || m.FSType == "overlay" && strings.Contains(m.VFSOptions, "/"+end+":")
		return !found, found
	})
	if err != nil || len(mounts) == 0 {
		return "", err
	}
	return mounts[0].Mountpoint, nil
}

// Pool returns the size and the free space of the store's file system.
func (s *Store) Pool() storage.Pool {
	if err := s.ready(); err != nil {
		return storage.Pool{Missing: err.Error()}
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(s.Dir, &fs); err != nil {
		return storage.Pool{Missing: err.Error()}
	}
	size := int64(fs.Bsize)
	return storage.Pool{Capacity: int64(fs.Blocks) * size, Available: int64(fs.Bavail) * size, Limit: s.limit()}
}
