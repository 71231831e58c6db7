package layers

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster/statefile"
)

// Writer is a layer that is being unpacked. It ends with Publish or Abort; if the process ends, the kernel gives its locks back, and
// Collect removes what was unpacked.
type Writer struct {
	store *Store
	id    digest.Digest
	lock  *statefile.Lock // of the layer
	mine  *statefile.Lock // of dir
	dir   string
}

func (s *Store) begin(id digest.Digest, lock *statefile.Lock) (*Writer, error) {
	dir, err := os.MkdirTemp(s.unfinished(), "")
	if err != nil {
		return nil, err
	}
	w := &Writer{store: s, id: id, lock: lock, dir: dir}
	fail := func(err error) (*Writer, error) { return nil, errors.Join(err, os.RemoveAll(dir)) }
	if w.mine, err = statefile.TryLockDir(dir); err != nil {
		return fail(err)
	}
	for name, mode := range map[string]fs.FileMode{filesName: 0o755, workName: 0o711, refsName: 0o700} {
		if err := os.Mkdir(filepath.Join(dir, name), mode); err != nil {
			w.mine.Unlock()
			return fail(err)
		}
	}
	return w, nil
}

// Files is the directory for the files of the layer, and Work one that overlayfs may use meanwhile.
func (w *Writer) Files() string { return filepath.Join(w.dir, filesName) }

// Work is an empty directory on the file system of Files.
func (w *Writer) Work() string { return filepath.Join(w.dir, workName) }

// Publish makes the layer one that all nodes find, and that this node uses. The caller has checked its digest. It returns the
// directory that the files are in now.
func (w *Writer) Publish() (string, error) {
	s := w.store
	entry := s.entry(w.id)
	err := errors.Join(
		os.RemoveAll(w.Work()),
		os.WriteFile(filepath.Join(w.dir, refsName, s.node), nil, 0o600),
		os.WriteFile(filepath.Join(w.dir, bootName), []byte(s.boot), 0o600),
	)
	if err == nil {
		err = os.Rename(w.dir, entry)
	}
	if err != nil {
		return "", errors.Join(err, w.Abort())
	}
	w.mine.Unlock()
	w.lock.Unlock()
	return filepath.Join(entry, filesName), nil
}

// Abort takes back what was unpacked.
func (w *Writer) Abort() error {
	err := os.RemoveAll(w.dir)
	w.mine.Unlock()
	w.lock.Unlock()
	return err
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
