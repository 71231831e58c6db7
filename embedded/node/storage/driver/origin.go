//go:build linux

package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/storage"
	"github.com/klkube/kl/embedded/node/storage/clone"
	"github.com/klkube/kl/embedded/node/storage/loop"
)

// origin is a volume or snapshot that is being copied. It cannot be deleted, by any node, until it is closed.
type origin struct {
	record
	*os.File // of its directory, locked
}

// origin returns the volume or snapshot; the error is ErrGone if there is none.
func (s *Store) origin(of storage.Source) (*origin, error) {
	dir, id := s.Dir, of.Volume
	if of.Snapshot != "" {
		dir, id = s.snapshots(), of.Snapshot
	}
	if err := storage.CheckID(id); err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	dir = filepath.Join(dir, id)
	lock, err := lockDir(dir, unix.LOCK_SH)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", storage.ErrGone, of)
	}
	if err != nil {
		return nil, err
	}
	r, err := readRecord(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", of, err), lock.Close())
	}
	return &origin{r, lock}, nil
}

// copyVolume makes a new volume of a store's volume or snapshot.
func (s *Store) copyVolume(ctx context.Context, v storage.Volume, from *Store) error {
	o, err := from.origin(*v.Source)
	if err != nil {
		return err
	}
	defer o.Close()
	if o.Block != v.Block {
		return fmt.Errorf("%w: %s has another volumeMode", storage.ErrInvalid, v.Source)
	}
	if v.Size < o.Size {
		return fmt.Errorf("%w: %d bytes are less than the %d of %s", storage.ErrInvalid, v.Size, o.Size, v.Source)
	}
	if err := s.hasRoom(ctx, o); err != nil {
		return err
	}
	err = s.build(filepath.Join(s.Dir, v.ID), func(temp string) (record, error) {
		r := record{Size: v.Size, Block: v.Block}
		if !v.Block {
			if err := s.makeData(filepath.Join(temp, dataDir), v); err != nil {
				return r, err
			}
		}
		var err error
		r.Changed, err = o.copyTo(ctx, temp, v.Size)
		return r, err
	})
	return copyFailed(err)
}

// copyTo copies the data into a new volume's or snapshot's directory, which has the data directory already, and waits until it is on
// disk. It returns what changed all the time.
func (o *origin) copyTo(ctx context.Context, dir string, size int64) (changed []string, err error) {
	if o.Block {
		changed, err = copyImage(ctx, filepath.Join(o.Name(), imageFile), filepath.Join(dir, imageFile), size)
	} else {
		changed, err = clone.Tree(ctx, filepath.Join(o.Name(), dataDir), filepath.Join(dir, dataDir))
	}
	if err != nil {
		return nil, err
	}
	const most = 10 // names that a record has room for
	changed = changed[:min(len(changed), most)]
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return changed, errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

// copyImage copies the file of a block volume, once more if a pod wrote to the device meanwhile.
func copyImage(ctx context.Context, source, target string, size int64) (changed []string, err error) {
	for range 2 {
		if err := os.RemoveAll(target); err != nil {
			return nil, err
		}
		before, err := written(source)
		if err != nil {
			return nil, err
		}
		shared, err := clone.File(ctx, source, target)
		if err != nil {
			return nil, err
		}
		after, err := written(source)
		if err != nil {
			return nil, err
		}
		changed = nil
		if !shared && before != after {
			changed = []string{"the block device"}
		}
		if changed == nil {
			break
		}
	}
	return changed, os.Truncate(target, imageSize(size))
}

// written has the kernel write to the file what pods wrote to its devices, and returns when that was last.
func written(image string) (unix.Timespec, error) {
	if err := loop.Flush(image); err != nil {
		return unix.Timespec{}, err
	}
	var s unix.Stat_t
	return s.Mtim, unix.Stat(image, &s)
}

// mostKept is how many bytes a copy leaves free, or a twentieth of a small disk: on a full one, pods are evicted and etcd ends.
const mostKept = 1 << 30

// hasRoom returns ErrNoSpace if there is no room for a copy. One that can share the data needs none.
func (s *Store) hasRoom(ctx context.Context, o *origin) error {
	var from, to unix.Stat_t
	if err := errors.Join(unix.Fstat(int(o.Fd()), &from), unix.Stat(s.Dir, &to)); err != nil {
		return err
	}
	if from.Dev == to.Dev && clone.Shares(s.Dir) == nil {
		return nil
	}
	path := filepath.Join(o.Name(), dataDir)
	if o.Block {
		path = filepath.Join(o.Name(), imageFile)
	}
	need, _, err := s.measure(ctx, path)
	if err != nil {
		return err
	}
	pool := s.Pool()
	kept := min(pool.Capacity/20, mostKept)
	if free := pool.Available - kept; need > free {
		return fmt.Errorf("%w: it needs %d MiB, and there is room for %d MiB", storage.ErrNoSpace, need>>20, max(free, 0)>>20)
	}
	return nil
}

// copyFailed makes the error of a full disk ErrNoSpace.
func copyFailed(err error) error {
	if cluster.DiskFull(err) {
		return fmt.Errorf("%w: %w", storage.ErrNoSpace, err)
	}
	return err
}

// now is the time as a record keeps it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
