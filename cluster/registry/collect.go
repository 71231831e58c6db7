package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/cluster/statefile"
)

const (
	pulledAge   = 30 * 24 * time.Hour // since the last pull of an image of another registry
	untaggedAge = 7 * 24 * time.Hour  // since a manifest was pushed, or found by its digest, whose tag is another's now
	pushTime    = 10 * time.Minute    // from a blob, or from when a client was told that it is there, to its manifest
	unnamedAge  = 24 * time.Hour      // of blobs whose manifest did not come, and of uploads and downloads that were given up
)

// Collect removes what nobody needs: images of other registries that were not pulled for 30 days, manifests that have had no tag for a
// week, uploads and blobs that have belonged to none for a day. It returns how many bytes it has freed.
func (s *Store) Collect(ctx context.Context) (int64, error) {
	return s.collect(ctx, pulledAge, untaggedAge, unnamedAge)
}

// Prune is Collect for `kl image prune`: manifests without a tag go at once and, with all, so do images of other registries. Blobs stay
// for minutes, since somebody may be pushing.
func (s *Store) Prune(ctx context.Context, all bool) (int64, error) {
	if all {
		return s.collect(ctx, 0, 0, pushTime)
	}
	return s.collect(ctx, pulledAge, 0, pushTime)
}

func (s *Store) collect(ctx context.Context, pulled, untagged, unnamed time.Duration) (freed int64, err error) {
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	now := time.Now()
	err = s.locked(ctx, func() error {
		named := map[digest.Digest]bool{}
		if err := s.eachRepository("repositories", func(r repository) error {
			return s.keepTagged(r, now.Add(-untagged), named)
		}); err != nil {
			return err
		}
		if err := s.eachRepository("upstream", func(r repository) error {
			if err := r.removeTags(now.Add(-pulled)); err != nil {
				return err
			}
			return s.keepTagged(r, now.Add(-pulled), named)
		}); err != nil {
			return err
		}
		freed, err = s.sweep(named, now.Add(-unnamed))
		return err
	})
	if err != nil {
		return freed, fmt.Errorf("collect images of the registry: %w", err)
	}
	return freed, nil
}

func (s *Store) eachRepository(kind string, do func(repository) error) error {
	list, err := names(s.path(kind))
	if err != nil {
		return err
	}
	for _, name := range list {
		r := repository{s.path(kind, name)}
		if err := do(r); err != nil {
			return err
		}
		r.tidy()
	}
	return nil
}

// removeTags removes tags that nobody has used since a time.
func (r repository) removeTags(since time.Time) error {
	tags, err := r.list("tags")
	if err != nil {
		return err
	}
	for _, tag := range tags {
		if _, used, err := r.find(tag); err == nil && used.Before(since) {
			if err := os.Remove(r.tagFile(tag)); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepTagged removes manifests that are no part of what has a tag, and are older than a time. It adds what the others name.
func (s *Store) keepTagged(r repository, since time.Time, named map[digest.Digest]bool) error {
	tags, err := r.list("tags")
	if err != nil {
		return err
	}
	manifests, err := r.list("manifests")
	if err != nil {
		return err
	}
	for _, tag := range tags {
		e, _, err := r.find(tag)
		if err == nil {
			err = s.name(e.Digest, named)
		}
		if err != nil {
			return err
		}
	}
	var old []entry
	for _, reference := range manifests {
		e, used, err := r.find(reference)
		switch {
		case err != nil:
			return err
		case used.Before(since):
			old = append(old, e)
			continue
		}
		if err := s.name(e.Digest, named); err != nil {
			return err
		}
	}
	for _, e := range old {
		if e.Subject != "" && named[e.Subject] { // a signature, for instance
			if err := s.name(e.Digest, named); err != nil {
				return err
			}
		}
		if named[e.Digest] {
			continue
		}
		if err := os.Remove(r.manifestFile(e.Digest)); err != nil {
			return err
		}
	}
	return nil
}

// name adds a manifest and what it names, as far as it is there.
func (s *Store) name(d digest.Digest, named map[digest.Digest]bool) error {
	if named[d] || d.Validate() != nil {
		return nil
	}
	data, err := s.readBlob(d)
	if errors.Is(err, fs.ErrNotExist) { // another platform's
		return nil
	}
	if err != nil {
		return err
	}
	named[d] = true
	var m document
	if err := json.Unmarshal(data, &m); err != nil {
		return nil //nolint:nilerr // it was checked when it came: the disk has damaged it, and nothing can be read out of it
	}
	for _, b := range m.blobs() {
		named[b.Digest] = true
	}
	for _, child := range m.Manifests {
		if !images.IsIndex(child.MediaType) && !images.IsManifest(child.MediaType) {
			named[child.Digest] = true
			continue
		}
		if err := s.name(child.Digest, named); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes blobs that are not named, uploads and downloads that are older than a time.
func (s *Store) sweep(named map[digest.Digest]bool, since time.Time) (freed int64, err error) {
	algorithms, err := names(s.path("blobs"))
	if err != nil {
		return 0, err
	}
	for _, algorithm := range algorithms {
		n, err := removeOld(s.path("blobs", algorithm), since, func(name string) bool {
			return !named[digest.NewDigestFromEncoded(digest.Algorithm(algorithm), name)]
		})
		freed += n
		if err != nil {
			return freed, err
		}
	}
	for _, kind := range []string{"uploads", "partial"} {
		n, err := removeOld(s.path(kind), since, func(name string) bool {
			l, err := statefile.TryLock(s.path(kind, name))
			if err == nil {
				l.Unlock()
			}
			return err == nil // else it is being written
		})
		freed += n
		if err != nil {
			return freed, err
		}
	}
	return freed, nil
}

// removeOld removes files of a directory that are older than a time and that nobody needs.
func removeOld(dir string, since time.Time, needless func(name string) bool) (freed int64, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return freed, err
		}
		if !info.Mode().IsRegular() || !info.ModTime().Before(since) || !needless(e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, err
		}
		freed += info.Size()
	}
	return freed, nil
}

// RemoveUnused removes a home's registry if nothing was pushed to it or pulled through it. No process may use it.
func RemoveUnused(home cluster.Home) error {
	for _, kind := range []string{"repositories", "upstream"} {
		list, err := names(filepath.Join(home.RegistryDir(), kind))
		if err != nil || len(list) > 0 {
			return err
		}
	}
	return Remove(home)
}

// Remove removes a home's registry, with all that was pushed to it. No process may use it.
func Remove(home cluster.Home) error { return os.RemoveAll(home.RegistryDir()) }
