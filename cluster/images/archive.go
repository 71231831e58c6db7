// Package images reads images from where people have them, for nodes to run: docker-archives and OCI layouts in a tar, and the directory of
// a Docker engine, with or without containerd's store.
package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	"github.com/klauspost/compress/zstd"
)

// ErrNotArchive is returned for a file that holds no images.
var ErrNotArchive = errors.New("not a docker-archive or OCI tar")

const (
	maxIndexSize = 8 << 20   // bytes of manifest.json and index.json
	maxEntries   = 1_000_000 // of an archive
	maxTrailer   = 1 << 20   // bytes behind the end of a tar: it is padded to whole records
)

// Archive is a file with images.
type Archive struct {
	Path string
	Name string // what messages call it; empty means Path
	From string // cluster.Image's Source; empty means the file

	images []ArchiveImage // of CopyArchive
}

// Title is what messages call it.
func (a Archive) Title() string {
	if a.Name == "" {
		return a.Path
	}
	return a.Name
}

// Source is where nodes say that they have the images from.
func (a Archive) Source() string {
	if a.From == "" {
		return "file " + path.Base(a.Title())
	}
	return a.From
}

// BadArchive is the error for an archive that cannot be read; it names the archive once.
func BadArchive(name string, err error) error {
	var there *fs.PathError
	if errors.As(err, &there) {
		err = there.Err
	}
	if errors.Is(err, syscall.ENOSPC) {
		return &cluster.Error{Op: "read " + name, Err: err, Hint: "temporary files are in " + os.TempDir() + ": make room there, or set TMPDIR to another directory"}
	}
	return &cluster.Error{Op: "read " + name, Err: err, Hint: "save images with 'docker save', 'ctr image export' or a builder's OCI output"}
}

// OpenArchive opens a tar that may be compressed with gzip or zstd, and returns it decompressed.
func OpenArchive(file string) (io.ReadCloser, error) {
	f, err := statefile.Open(file)
	if err != nil {
		return nil, err
	}
	r, err := decompress(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return readCloser{r, f}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

func decompress(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(r, 1<<20)
	magic, _ := buffered.Peek(4) // a shorter one is no tar either
	var err error
	r = buffered
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		r, err = gzip.NewReader(buffered)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		r, err = zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
	}
	if err != nil {
		return nil, archiveError(err)
	}
	return r, nil
}

// ReadArchive lists the images of an archive, and checks that what its indexes name is there, with the content that its name
// says. It refuses anything that an archive of images has no use for: names and links that lead out of it, devices, pipes.
func ReadArchive(file string) ([]ArchiveImage, error) {
	f, err := statefile.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readArchive(f)
}

// CopyArchive copies a stream to a file of that path and checks it as ReadArchive does on the way, so that it need not be read
// again. It reads no further than to the end of the archive, or to what is wrong with it: the stream may have no end.
func CopyArchive(w io.Writer, r io.Reader, path, name string) (Archive, error) {
	images, err := readArchive(io.TeeReader(r, w))
	if err != nil {
		return Archive{}, err
	}
	if _, err = io.CopyN(w, r, maxTrailer); errors.Is(err, io.EOF) {
		err = nil
	}
	return Archive{Path: path, Name: name, images: images}, err
}

// Images lists the images of the archive, see ReadArchive.
func (a Archive) Images() ([]ArchiveImage, error) {
	if a.images != nil {
		return a.images, nil
	}
	return ReadArchive(a.Path)
}

// Checked is the archive with what Images lists, so that it is not read for that again.
func (a Archive) Checked() (Archive, error) {
	images, err := a.Images()
	a.images = images
	return a, err
}

func readArchive(r io.Reader) ([]ArchiveImage, error) {
	r, err := decompress(r)
	if err != nil {
		return nil, err
	}
	c := contents{files: map[string]bool{}}
	for entries := tar.NewReader(r); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = c.add(header, entries)
		}
		if err != nil {
			return nil, archiveError(err)
		}
	}
	return c.images()
}

// contents is what has been read of an archive.
type contents struct {
	files  map[string]bool // and links to files
	layout bool            // it is an OCI layout: containerd looks at manifest.json only if it is not
	docker []dockerImage
	oci    []ociImage
}

// add reads an entry.
func (c *contents) add(h *tar.Header, data io.Reader) error {
	if len(c.files) == maxEntries {
		return fmt.Errorf("it has more than %d entries", maxEntries)
	}
	name := path.Clean(h.Name)
	if leadsOut(name) {
		return fmt.Errorf("its entry %s leads out of the archive", quoted(h.Name))
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return nil
	case tar.TypeReg:
	case tar.TypeSymlink, tar.TypeLink: // docker save used to write layers that images share once
		to := path.Join(path.Dir(name), h.Linkname)
		if h.Typeflag == tar.TypeLink {
			to = path.Clean(h.Linkname)
		}
		if leadsOut(to) || path.IsAbs(h.Linkname) {
			return fmt.Errorf("its entry %s is a link that leads out of the archive", quoted(h.Name))
		}
		c.files[h.Name] = true
		return nil
	default:
		return fmt.Errorf("its entry %s is neither a file, a directory nor a link", quoted(h.Name))
	}
	c.files[name] = true
	switch name {
	case "manifest.json":
		return readIndex(name, data, &c.docker)
	case "index.json":
		var index struct {
			Manifests []ociImage `json:"manifests"`
		}
		err := readIndex(name, data, &index)
		c.oci = index.Manifests
		return err
	case "oci-layout":
		var layout struct {
			Version string `json:"imageLayoutVersion"`
		}
		err := readIndex(name, data, &layout)
		if c.layout = layout.Version != ""; err == nil && c.layout && layout.Version != "1.0.0" {
			err = fmt.Errorf("its oci-layout has version %s, and only 1.0.0 is known", quoted(layout.Version))
		}
		return err
	}
	return checkBlob(name, data)
}

// checkBlob returns an error for a blob whose content is not what its name says. What is no blob is not read.
func checkBlob(name string, data io.Reader) error {
	want, isBlob := strings.CutPrefix(name, "blobs/sha256/")
	if !isBlob || len(want) != hex.EncodedLen(sha256.Size) {
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, data); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("it is damaged: the content of %s has digest sha256:%s", name, got)
	}
	return nil
}

// leadsOut reports whether a clean path is outside of the directory it is relative to.
func leadsOut(name string) bool {
	return path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../")
}

// quoted is a name out of an archive for a message.
func quoted(name string) string { return statefile.Shorten(fmt.Sprintf("%q", name), 200) }

// readIndex decodes the JSON of an entry.
func readIndex(name string, data io.Reader, into any) error {
	text, err := io.ReadAll(io.LimitReader(data, maxIndexSize+1))
	switch {
	case err != nil:
		return err
	case len(text) > maxIndexSize:
		return fmt.Errorf("its %s is larger than %d MB", name, maxIndexSize>>20)
	case string(bytes.TrimSpace(text)) == "null":
		return fmt.Errorf("its %s holds nothing", name)
	}
	if err := statefile.DecodeJSON(text, into); err != nil {
		return fmt.Errorf("its %s %w", name, err)
	}
	return nil
}

// archiveError says in plain words why a tar, or its compression, cannot be read.
func archiveError(err error) error {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("%w: an entry begins with something else than a header", ErrNotArchive)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("%w, or cut off", ErrNotArchive)
	case errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum), errors.As(err, &corrupt):
		return errors.New("its gzip compression is damaged")
	case strings.Contains(err.Error(), "archive/tar: "): // such as a header that contradicts itself
		return fmt.Errorf("%w: %s", ErrNotArchive, strings.TrimPrefix(err.Error(), "archive/tar: "))
	}
	if isZstd(err) {
		return fmt.Errorf("its zstd compression is damaged: %w", err)
	}
	return err
}

func isZstd(err error) bool {
	for _, known := range []error{
		zstd.ErrMagicMismatch, zstd.ErrCRCMismatch, zstd.ErrBlockTooSmall, zstd.ErrCompressedSizeTooBig, zstd.ErrReservedBlockType,
		zstd.ErrWindowSizeExceeded, zstd.ErrWindowSizeTooSmall, zstd.ErrUnknownDictionary, zstd.ErrUnexpectedBlockSize,
		zstd.ErrDecoderSizeExceeded, zstd.ErrFrameSizeExceeded, zstd.ErrFrameSizeMismatch,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// images returns the images that the indexes name, if all of their parts that have to be there are.
func (c *contents) images() ([]ArchiveImage, error) {
	var images []ArchiveImage
	for _, m := range c.oci {
		image, file, err := m.image()
		if err == nil && c.layout && !c.files[file] {
			err = fmt.Errorf("names %s, which is not in the archive", quoted(m.Digest))
		}
		if err != nil {
			return nil, fmt.Errorf("its index.json %w", err)
		}
		images = merge(images, []ArchiveImage{image})
	}
	for _, m := range c.docker {
		image, err := m.image()
		for _, file := range append([]string{m.Config}, m.Layers...) {
			if err == nil && !c.layout && !c.files[file] {
				err = fmt.Errorf("names %s, which is not in the archive", quoted(file))
			}
		}
		if err != nil {
			return nil, fmt.Errorf("its manifest.json %w", err)
		}
		images = merge(images, []ArchiveImage{image})
	}
	switch {
	case len(images) == 0:
		return nil, fmt.Errorf("%w: it names no images", ErrNotArchive)
	case c.docker == nil && !c.layout:
		return nil, fmt.Errorf("%w: it has an index.json, and no oci-layout beside it", ErrNotArchive)
	case c.layout && c.oci == nil:
		return nil, fmt.Errorf("%w: it has an oci-layout, and no index.json beside it", ErrNotArchive)
	}
	return images, nil
}
