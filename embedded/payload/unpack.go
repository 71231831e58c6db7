package payload

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Limits that no archive may exceed, whatever its headers say.
const (
	maxBytes    = 2 << 30
	maxFiles    = 20_000
	maxManifest = 16 << 20
	maxWindow   = 128 << 20
)

// errSpace is wrapped when the disk cannot hold the payload.
var errSpace = errors.New("not enough disk space")

// Unpack reads a payload archive from r into the empty directory dir and returns its manifest. It accepts only what
// mkpayload writes: the manifest first, then exactly the files it lists, in its order, plain files, directories and
// symbolic links that stay inside. sha is the hash the compressed stream must have; progress may be nil. On error dir is
// left half-filled. Most callers want [Ensure].
func Unpack(ctx context.Context, r io.Reader, sha, dir string, progress func(done, total int64)) (*Manifest, error) {
	sum := sha256.New()
	raw := io.TeeReader(&contextReader{ctx, r}, sum)
	z, err := zstd.NewReader(raw, zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("open payload: %w", err)
	}
	defer z.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open payload directory: %w", err)
	}
	defer root.Close()

	u := &unpacker{root: root, tar: tar.NewReader(z), dirs: map[string]bool{".": true}, progress: progress}
	m, err := u.manifest()
	if err != nil {
		return nil, fmt.Errorf("read payload: %w", err)
	}
	if err := checkSpace(dir, u.total); err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		if err := u.file(f); err != nil {
			return nil, fmt.Errorf("unpack %q: %w", f.Path, err)
		}
	}
	if _, err := u.tar.Next(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read payload: more files than the manifest lists (%w)", err)
	}
	if _, err := io.Copy(io.Discard, z); err != nil {
		return nil, fmt.Errorf("read payload: %w", err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != sha {
		return nil, fmt.Errorf("verify payload: sha256 is %s, want %s", got, sha)
	}
	return m, u.closeDirs(m)
}

type unpacker struct {
	root     *os.Root
	tar      *tar.Reader
	dirs     map[string]bool // directories made so far; a file's directory must be one of them
	done     int64
	total    int64
	shown    int64
	progress func(done, total int64)
}

// manifest reads the first entry, checks it and stores it.
func (u *unpacker) manifest() (*Manifest, error) {
	h, err := u.tar.Next()
	if err != nil {
		return nil, err
	}
	if h.Name != ManifestName || h.Typeflag != tar.TypeReg || h.Size > maxManifest {
		return nil, fmt.Errorf("first entry is %q, want %s", h.Name, ManifestName)
	}
	b, err := io.ReadAll(u.tar)
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	if len(m.Files) > maxFiles {
		return nil, fmt.Errorf("%d files: too many", len(m.Files))
	}
	for _, f := range m.Files {
		if f.Size < 0 || f.Size > maxBytes {
			return nil, fmt.Errorf("%q: bad size %d", f.Path, f.Size)
		}
		if u.total += f.Size; u.total > maxBytes {
			return nil, errors.New("content is too large")
		}
	}
	return &m, u.root.WriteFile(ManifestName, b, 0o644)
}

// file unpacks the next entry, which must be f.
func (u *unpacker) file(f File) error {
	h, err := u.tar.Next()
	if err != nil {
		return fmt.Errorf("read archive: %w", noEOF(err))
	}
	if err := check(f); err != nil {
		return err
	}
	if name := strings.TrimSuffix(h.Name, "/"); name != f.Path {
		return fmt.Errorf("archive has %q instead", name)
	}
	if h.FileInfo().Mode() != f.Mode || h.Size != f.Size || h.Linkname != f.Link {
		return errors.New("entry differs from the manifest")
	}
	if !u.dirs[path.Dir(f.Path)] {
		return errors.New("its directory is not in the archive")
	}
	switch f.Mode.Type() {
	case fs.ModeDir:
		u.dirs[f.Path] = true
		return u.root.Mkdir(f.Path, 0o700) // closeDirs sets its mode once it is filled
	case fs.ModeSymlink:
		return u.root.Symlink(f.Link, f.Path)
	default:
		return u.regular(f)
	}
}

func (u *unpacker) regular(f File) (err error) {
	out, err := u.root.OpenFile(f.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	var w io.Writer = &progressWriter{out, u}
	if f.Code != nil {
		w = &codeWriter{w: w, code: *f.Code}
	}
	if _, err := io.Copy(w, u.tar); err != nil {
		return noEOF(err)
	}
	if err := out.Chmod(f.Mode.Perm()); err != nil {
		return err
	}
	return u.root.Chtimes(f.Path, time.Unix(0, 0), time.Unix(0, 0))
}

// closeDirs gives directories their modes, the deepest first.
func (u *unpacker) closeDirs(m *Manifest) error {
	for i := len(m.Files) - 1; i >= 0; i-- {
		if f := m.Files[i]; f.Mode.IsDir() {
			if err := u.root.Chmod(f.Path, f.Mode&(fs.ModePerm|fs.ModeSticky)); err != nil {
				return fmt.Errorf("unpack %q: %w", f.Path, err)
			}
		}
	}
	return nil
}

// check refuses files that do not belong in a payload. os.Root stops everything else that leads out of the directory.
func check(f File) error {
	if !fs.ValidPath(f.Path) || f.Path == "." || strings.ContainsAny(f.Path, "\x00\\") {
		return errors.New("bad path")
	}
	allowed := fs.ModePerm
	switch f.Mode.Type() {
	case 0:
	case fs.ModeDir:
		allowed |= fs.ModeDir | fs.ModeSticky
	case fs.ModeSymlink:
		allowed |= fs.ModeSymlink
		if f.Link == "" || path.IsAbs(f.Link) || !fs.ValidPath(path.Join(path.Dir(f.Path), f.Link)) {
			return fmt.Errorf("link to %q leads out of the payload", f.Link)
		}
	default:
		return fmt.Errorf("mode %v: neither file, directory nor symbolic link", f.Mode)
	}
	if f.Mode&^allowed != 0 {
		return fmt.Errorf("mode %v is not allowed", f.Mode)
	}
	if c := f.Code; c != nil && (c.Offset < 0 || c.Length < 0 || c.Length > f.Size || c.Offset > f.Size-c.Length) {
		return fmt.Errorf("code at %d, %d bytes of it: outside of the file", c.Offset, c.Length)
	}
	return nil
}

// progressWriter counts the bytes written and reports them about a hundred times in all.
type progressWriter struct {
	w io.Writer
	u *unpacker
}

func (p *progressWriter) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	p.u.done += int64(n)
	if p.u.progress != nil && (p.u.done-p.u.shown > p.u.total/100 || p.u.done == p.u.total) {
		p.u.shown = p.u.done
		p.u.progress(p.u.done, p.u.total)
	}
	return n, err
}

// contextReader fails once ctx is done.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(b)
}

// noEOF turns an early end of the archive into an error that says so.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
