package layers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster/statefile"
)

// addSuffix is that of the lock of a layer that Add unpacks.
const addSuffix = ".add"

// Add unpacks a layer, an uncompressed tar of that digest, unless it is there. Directories that it has files in and does not describe
// are as the layers below have them, of which the first is the one directly below. The tar is read to its end or not at all. Who else
// adds the layer waits.
func (s *Store) Add(ctx context.Context, logger *slog.Logger, id digest.Digest, below []digest.Digest, tar io.Reader) error {
	if err := id.Validate(); err != nil {
		return fmt.Errorf("layer %q: %w", id, err)
	}
	lock, err := statefile.WaitLock(ctx, s.lockFile(id)+addSuffix, nil)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if dir, err := s.Use(ctx, id); err != nil || dir != "" {
		return err
	}
	w, err := s.Begin(id)
	if err != nil {
		return err
	}
	if err := apply(ctx, w.Files(), id, s.directories(below), tar); err != nil {
		return errors.Join(fmt.Errorf("unpack layer %s: %w", id, err), w.Abort())
	}
	if _, err := w.Publish(ctx); err != nil {
		return err
	}
	go s.Settle(logger, id)
	return nil
}

func apply(ctx context.Context, dir string, id digest.Digest, below []string, tar io.Reader) error {
	sum := digest.SHA256.Digester()
	tar = io.TeeReader(tar, sum.Hash())
	if _, err := archive.Apply(ctx, dir, tar, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout), archive.WithParents(below)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, tar); err != nil { // what is behind the end of the tar counts, too
		return err
	}
	if got := sum.Digest(); got != id {
		return fmt.Errorf("its content has digest %s", got)
	}
	return nil
}

// directories returns where layers are; those that are not there are left out.
func (s *Store) directories(ids []digest.Digest) []string {
	var dirs []string
	for _, id := range ids {
		if id.Validate() != nil {
			continue
		}
		dir := filepath.Join(s.entry(id), filesName)
		if _, err := os.Stat(dir); err == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// List returns the layers that are there.
func (s *Store) List() ([]digest.Digest, error) {
	return s.list(func(digest.Digest) bool { return true })
}
