package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster/statefile"
)

// Writer is a layer that is being unpacked. It ends with Publish or Abort; if the process ends, Collect removes what was unpacked.
type Writer struct {
	store *Store
	id    digest.Digest
	mine  *statefile.Lock // of dir
	dir   string
}

// Begin begins a layer. Two may unpack one at once: what is published first stays.
func (s *Store) Begin(id digest.Digest) (*Writer, error) {
	fail := func(err error) (*Writer, error) { return nil, fmt.Errorf("begin layer %s: %w", id, err) }
	dir, err := os.MkdirTemp(s.unfinished(), "")
	if err != nil {
		return fail(err)
	}
	w := &Writer{store: s, id: id, dir: dir}
	if w.mine, err = statefile.TryLockDir(dir); err != nil {
		return fail(errors.Join(err, os.RemoveAll(dir)))
	}
	for name, mode := range map[string]fs.FileMode{filesName: 0o755, workName: 0o711, refsName: 0o700} {
		if err := os.Mkdir(filepath.Join(dir, name), mode); err != nil {
			return fail(errors.Join(err, w.Abort()))
		}
	}
	return w, nil
}

// Files is the directory for the files of the layer.
func (w *Writer) Files() string { return filepath.Join(w.dir, filesName) }

// Work is an empty directory on the file system of Files, which overlayfs may use meanwhile.
func (w *Writer) Work() string { return filepath.Join(w.dir, workName) }

// Publish makes the layer one that all nodes find, and that this node uses. The caller has checked its digest. It returns the
// directory that the files are in now.
func (w *Writer) Publish(ctx context.Context) (string, error) {
	dir, err := w.publish(ctx)
	if err != nil {
		return "", errors.Join(fmt.Errorf("publish layer %s: %w", w.id, err), w.Abort())
	}
	return dir, nil
}

func (w *Writer) publish(ctx context.Context) (string, error) {
	s := w.store
	lock, err := s.lock(ctx, w.id)
	if err != nil {
		return "", err
	}
	defer lock.Unlock()
	if dir, err := s.use(w.id); err != nil || dir != "" { // another one was faster
		return dir, errors.Join(err, w.Abort())
	}
	if err := errors.Join(
		os.RemoveAll(w.Work()),
		os.WriteFile(filepath.Join(w.dir, refsName, s.node), nil, 0o600),
		os.WriteFile(filepath.Join(w.dir, bootName), []byte(s.boot), 0o600),
	); err != nil {
		return "", err
	}
	if err := os.Rename(w.dir, s.entry(w.id)); err != nil {
		return "", err
	}
	w.mine.Unlock()
	return filepath.Join(s.entry(w.id), filesName), nil
}

// Abort takes back what was unpacked.
func (w *Writer) Abort() error {
	defer w.mine.Unlock()
	return os.RemoveAll(w.dir)
}

// Settle writes a layer to the disk, which may take seconds, and then takes away the note that it has not been. Until then it counts as
// whole as long as the machine has not booted.
func (s *Store) Settle(logger *slog.Logger, id digest.Digest) {
	err := s.sync()
	if err == nil {
		err = os.Remove(filepath.Join(s.entry(id), bootName))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		logger.Warn("write layer to the disk", "layer", id, "error", err)
	}
}
