package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// Store is a home's registry. It is safe for concurrent use, by several processes, too.
type Store struct {
	Upstream Upstream     // how others are reached; set it before the first Pull
	Logger   *slog.Logger // nil discards

	dir       string
	downloads downloads
}

// Open returns the registry of a home. Its directory is made when something is written. Close it.
func Open(home cluster.Home) *Store { return &Store{dir: home.RegistryDir()} }

// Close ends downloads that nobody waits for any longer, and returns once they have ended. What is there of them is kept.
func (s *Store) Close() { s.downloads.close() }

func (s *Store) log() *slog.Logger {
	if s.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Logger
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// lock keeps Collect away from blobs that no manifest names yet, or waits until it is done. What is locked is the directory: a full disk
// has no room for a file.
func (s *Store) lock(ctx context.Context) (*statefile.Lock, error) {
	if err := statefile.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	return statefile.WaitLockDir(ctx, s.dir)
}

// blobPath is where a blob is. The digest must be valid.
func (s *Store) blobPath(d digest.Digest) string {
	return s.path("blobs", d.Algorithm().String(), d.Encoded())
}

// size returns the size of a blob in bytes. The error is fs.ErrNotExist if it is not there.
func (s *Store) size(d digest.Digest) (int64, error) {
	info, err := os.Lstat(s.blobPath(d))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// has reports whether a blob is there.
func (s *Store) has(d digest.Digest) bool {
	_, err := s.size(d)
	return err == nil
}

// openBlob opens a blob. The error is fs.ErrNotExist if it is not there.
func (s *Store) openBlob(d digest.Digest) (*os.File, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return statefile.Open(s.blobPath(d))
}

// readBlob reads a manifest or configuration.
func (s *Store) readBlob(d digest.Digest) ([]byte, error) {
	f, err := s.openBlob(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(data) > maxManifest {
		err = fmt.Errorf("%s has more than %d MB", d, maxManifest>>20)
	}
	return data, err
}

// keep makes a locked file that is complete the blob of that digest, and gives the lock back. The file's content must have been
// checked.
func (s *Store) keep(l *statefile.Lock, d digest.Digest) error {
	defer l.Unlock()
	if err := l.File().Sync(); err != nil {
		return err
	}
	to := s.blobPath(d)
	if err := statefile.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	if err := os.Rename(l.File().Name(), to); err != nil {
		return err
	}
	return statefile.SyncDir(filepath.Dir(to))
}

// writeBlob keeps a manifest.
func (s *Store) writeBlob(d digest.Digest, data []byte) error {
	to := s.blobPath(d)
	if err := statefile.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return statefile.Write(to, data, 0o600)
}

// refresh marks a blob that is old as new, so that Collect leaves it until a client that has been told that it is there has sent the
// manifest. The error is fs.ErrNotExist if the blob is not there.
func (s *Store) refresh(ctx context.Context, d digest.Digest) error {
	info, err := os.Lstat(s.blobPath(d))
	if err != nil || time.Since(info.ModTime()) < pushTime/2 {
		return err
	}
	l, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer l.Unlock()
	return touch(s.blobPath(d))
}

// full reports whether an error is that of a disk, or a quota, without space.
func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

func touch(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}

// entry is a manifest of a repository, or what a tag stands for.
type entry struct {
	ocispec.Descriptor
	Subject digest.Digest `json:"subject,omitempty"` // of a manifest that is about another: a signature, for instance
}

// repository is where the tags and manifests of a repository are.
type repository struct{ dir string }

func (r repository) manifestFile(d digest.Digest) string {
	return filepath.Join(r.dir, "manifests", d.String())
}
func (r repository) tagFile(tag string) string { return filepath.Join(r.dir, "tags", tag) }

// file is where a tag or digest is.
func (r repository) file(reference string) string {
	if d, err := digest.Parse(reference); err == nil {
		return r.manifestFile(d)
	}
	return r.tagFile(reference)
}

// find returns what a tag or digest stands for, and since when. The error is cluster.ErrNoImage if nothing has that name.
func (r repository) find(reference string) (entry, time.Time, error) {
	file := r.file(reference)
	var e entry
	info, err := os.Lstat(file)
	if err == nil {
		err = statefile.ReadJSON(file, &e)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return entry{}, time.Time{}, cluster.ErrNoImage
	}
	if err != nil {
		return entry{}, time.Time{}, err
	}
	if err := e.Digest.Validate(); err != nil {
		return entry{}, time.Time{}, fmt.Errorf("%s is damaged: %w", file, err)
	}
	return e, info.ModTime(), nil
}

// put adds a manifest, whose blob is there, under its digest and, unless tag is empty, under a tag.
func (r repository) put(e entry, tag string) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	files := []string{r.manifestFile(e.Digest)}
	if tag != "" {
		files = append(files, r.tagFile(tag))
	}
	for _, file := range files {
		if err := statefile.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := statefile.Write(file, data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// list returns the names of the repository's tags or manifests, sorted. There are none if there is no repository.
func (r repository) list(kind string) ([]string, error) { return names(filepath.Join(r.dir, kind)) }

// names lists a directory, without files that are being written.
func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var list []string
	for _, e := range entries {
		if !statefile.Temporary(e.Name()) {
			list = append(list, e.Name())
		}
	}
	return list, err
}

// exists reports whether the repository has anything.
func (r repository) exists() bool {
	_, err := os.Lstat(r.dir)
	return err == nil
}
