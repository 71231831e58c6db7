// Package layers keeps the unpacked layers of images once for all nodes and clusters of a machine, in a directory that is mounted into
// every node. A node's containerd finds a layer there by its diff ID, the digest of the layer as a tar, instead of unpacking it again:
// see NewSnapshotter. Nothing but whole layers whose digest was checked is ever found.
//
//	sha256/<hex>/fs           the files of a layer, with whiteouts as overlayfs has them
//	sha256/<hex>/refs/<node>  one for each node that uses it
//	sha256/<hex>/boot         the boot in which it was written, until it is safely on the disk
//	new/<random>/             one that is being unpacked, locked by who does it
//	locks/<hex>               locked while a layer is looked up, published or removed
//	locks/<hex>.add           locked while Add unpacks one
package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/klkube/kl/cluster/statefile"
)

// Store is the directory of layers as one node uses it. It is safe for concurrent use, by several processes, too.
type Store struct {
	dir, node string
	boot      string // ID of the machine's boot
}

// Open opens the store in a directory, which must exist. The node's name must be unique on the machine, and be the name of a file.
func Open(dir, node string) (*Store, error) {
	if node == "" || node != filepath.Base(node) || strings.HasPrefix(node, ".") {
		return nil, fmt.Errorf("open layers in %s: %q is no name of a node", dir, node)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("open layers in %s: %w", dir, err)
	}
	s := &Store{dir: dir, node: node, boot: strings.TrimSpace(string(boot))}
	for _, d := range []string{s.entries(), s.unfinished(), s.locks()} {
		if err := os.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("open layers: %w", err)
		}
	}
	if err := s.probe(); err != nil {
		return nil, fmt.Errorf("the file system of %s cannot hold layers: %w", dir, err)
	}
	return s, nil
}

// probe makes what overlayfs knows removed files and replaced directories by, which not every file system can.
func (s *Store) probe() error {
	dir, err := os.MkdirTemp(s.unfinished(), "probe-")
	if err != nil {
		return err
	}
	return errors.Join(
		unix.Setxattr(dir, "trusted.overlay.opaque", []byte("y"), 0), unix.Mknod(filepath.Join(dir, "removed"), unix.S_IFCHR, 0), os.RemoveAll(dir),
	)
}

func (s *Store) entries() string    { return filepath.Join(s.dir, string(digest.SHA256)) }
func (s *Store) unfinished() string { return filepath.Join(s.dir, "new") }
func (s *Store) locks() string      { return filepath.Join(s.dir, "locks") }

// Names in the directory of a layer.
const (
	filesName = "fs"
	workName  = "work" // overlayfs wants one beside the files while they are written
	refsName  = "refs"
	bootName  = "boot"
)

func (s *Store) entry(id digest.Digest) string { return filepath.Join(s.entries(), id.Encoded()) }
func (s *Store) ref(id digest.Digest) string {
	return filepath.Join(s.entry(id), refsName, s.node)
}

// lock waits for whoever looks up, publishes or removes a layer.
func (s *Store) lock(ctx context.Context, id digest.Digest) (*statefile.Lock, error) {
	if err := id.Validate(); err != nil || id.Algorithm() != digest.SHA256 {
		return nil, fmt.Errorf("layer %q: not the SHA-256 digest of one", id)
	}
	return statefile.WaitLock(ctx, s.lockFile(id), nil)
}

func (s *Store) lockFile(id digest.Digest) string { return filepath.Join(s.locks(), id.Encoded()) }

// Use finds a layer, which the node uses from then on, until Release. It returns the directory of its files; empty if there is none.
func (s *Store) Use(ctx context.Context, id digest.Digest) (dir string, err error) {
	lock, err := s.lock(ctx, id)
	if err != nil {
		return "", err
	}
	defer lock.Unlock()
	return s.use(id)
}

// use is Use for who holds the lock.
func (s *Store) use(id digest.Digest) (dir string, err error) {
	whole, err := s.whole(id)
	if err == nil && whole {
		dir = filepath.Join(s.entry(id), filesName)
		err = s.refer(id)
	}
	if err != nil {
		return "", fmt.Errorf("use layer %s: %w", id, err)
	}
	return dir, nil
}

// whole reports whether a layer is there. One that was being written to the disk when the machine lost its power may lack data, and
// is taken away.
func (s *Store) whole(id digest.Digest) (bool, error) {
	if _, err := os.Lstat(filepath.Join(s.entry(id), filesName)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	boot, err := os.ReadFile(filepath.Join(s.entry(id), bootName))
	if errors.Is(err, fs.ErrNotExist) || err == nil && string(boot) == s.boot {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, s.discard(id)
}

// refer notes that the node uses a layer.
func (s *Store) refer(id digest.Digest) error {
	f, err := os.OpenFile(s.ref(id), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// Release ends the node's use of a layer. Collect removes what nobody uses.
func (s *Store) Release(ctx context.Context, id digest.Digest) error {
	lock, err := s.lock(ctx, id)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := os.Remove(s.ref(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("release layer %s: %w", id, err)
	}
	return nil
}

// Used lists the layers that the node uses.
func (s *Store) Used() ([]digest.Digest, error) {
	return s.list(func(id digest.Digest) bool {
		_, err := os.Lstat(s.ref(id))
		return err == nil
	})
}

func (s *Store) list(want func(digest.Digest) bool) ([]digest.Digest, error) {
	entries, err := os.ReadDir(s.entries())
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	var ids []digest.Digest
	for _, e := range entries {
		if id := digest.NewDigestFromEncoded(digest.SHA256, e.Name()); id.Validate() == nil && want(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// discard takes a layer away. What was opened in it stays open.
func (s *Store) discard(id digest.Digest) error {
	gone, err := os.MkdirTemp(s.unfinished(), "gone-")
	if err != nil {
		return err
	}
	if err := os.Rename(s.entry(id), filepath.Join(gone, "layer")); err != nil {
		return errors.Join(err, os.Remove(gone))
	}
	return os.RemoveAll(gone)
}

// sync writes the store's file system to the disk.
func (s *Store) sync() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}
