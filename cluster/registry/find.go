package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
)

// usedAge is how long ago something was used, at most, for that not to be noted again.
const usedAge = 24 * time.Hour

// Find returns the image that was pushed under a name, such as localhost:5000/app:dev, and when: that of the tag or, if the name has a
// digest, of the manifest. The error is cluster.ErrNoImage if there is none, or if the name is another registry's, and images.ErrParts if it is
// no image for this machine. Close the source.
func (s *Store) Find(_ context.Context, name string) (images.Source, time.Time, error) {
	named, err := parseName(name)
	if err != nil {
		return nil, time.Time{}, err
	}
	if !s.own(reference.Domain(named)) {
		return nil, time.Time{}, fmt.Errorf("%w as %s: it is another registry's name", cluster.ErrNoImage, named)
	}
	repo := s.repository(reference.Path(named))
	e, since, err := repo.find(referenceOf(named))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%w as %s in kl's registry", err, named)
	}
	if isDigested(named) && time.Since(since) > usedAge {
		_ = touch(repo.file(referenceOf(named))) // Collect then takes it for unused, at worst
	}
	source, err := s.source(named, e.Descriptor)
	return source, since, err
}

// parseName reads a name as container runtimes do: app is docker.io/library/app:latest, and a digest makes a tag superfluous.
func parseName(name string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return nil, &cluster.Error{Op: fmt.Sprintf("read image name %q", name), Err: err, Hint: "write it as in REGISTRY/NAME:TAG"}
	}
	return named, nil
}

func isDigested(named reference.Named) bool {
	_, ok := named.(reference.Digested)
	return ok
}

// referenceOf is the tag or digest of a name that parseName has read.
func referenceOf(named reference.Named) string {
	switch n := named.(type) {
	case reference.Digested:
		return n.Digest().String()
	case reference.Tagged:
		return n.Tag()
	}
	return "latest"
}

// own reports whether the registry listens under a name, or has.
func (s *Store) own(domain string) bool {
	host, port, err := net.SplitHostPort(domain)
	if err != nil {
		return false
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && s.ports().has(n)
}

// source is an image whose manifests and configuration are in the store.
type source struct {
	store  *Store
	image  images.Image
	layers map[digest.Digest]ocispec.Descriptor // by diff ID
	fetch  func(ctx context.Context, layer ocispec.Descriptor) error
}

var _ images.Source = (*source)(nil)

// source takes an image apart. Its layers need not be there.
func (s *Store) source(named reference.Named, target ocispec.Descriptor) (*source, error) {
	read := images.Blobs(func(d ocispec.Descriptor) ([]byte, error) { return s.readBlob(d.Digest) })
	return s.sourceOf(named, target, read)
}

func (s *Store) sourceOf(named reference.Named, target ocispec.Descriptor, read images.Blobs) (*source, error) {
	image, layers, err := read.Take(target)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", named, err)
	}
	image.Names = []string{named.String()}
	src := &source{store: s, image: image, layers: map[digest.Digest]ocispec.Descriptor{}}
	for i, l := range layers {
		src.layers[image.Layers[i]] = l
	}
	return src, nil
}

func (s *source) Images(context.Context) ([]images.Image, error) { return []images.Image{s.image}, nil }

func (s *source) Close() error { return nil }

// Layer opens a layer, and waits until it is downloaded if it comes from another registry.
func (s *source) Layer(ctx context.Context, id digest.Digest) (io.ReadCloser, error) {
	l, ok := s.layers[id]
	if !ok {
		return nil, fmt.Errorf("no image has layer %s", id)
	}
	f, err := s.open(ctx, l)
	if err != nil {
		return nil, err
	}
	checked := &checkedBlob{file: f, want: l.Digest, sum: l.Digest.Algorithm().Hash()}
	plain, err := images.DecompressLayer(id, checked, nil)
	if err != nil {
		err = checked.damage(err)
		f.Close() // it was only read
		return nil, err
	}
	return &layer{plain, checked}, nil
}

// Blob implements images.BlobSource.
func (s *source) Blob(ctx context.Context, d digest.Digest) (io.ReadCloser, error) {
	for _, l := range s.layers {
		if l.Digest == d {
			return s.open(ctx, l)
		}
	}
	return nil, fmt.Errorf("read layer %s of %s: %w", d, s.image.Names[0], fs.ErrNotExist)
}

// open opens the blob of a layer, and waits until it is downloaded.
func (s *source) open(ctx context.Context, l ocispec.Descriptor) (*os.File, error) {
	f, err := s.store.openBlob(l.Digest)
	if errors.Is(err, fs.ErrNotExist) && s.fetch != nil {
		if err := s.fetch(ctx, l); err != nil {
			return nil, err
		}
		f, err = s.store.openBlob(l.Digest)
	}
	if err != nil {
		return nil, fmt.Errorf("read layer of %s: %w", s.image.Names[0], err)
	}
	return f, nil
}

// layer is an open layer, decompressed.
type layer struct {
	io.ReadCloser
	blob *checkedBlob
}

// Read returns what is wrong with the blob, if anything is, instead of the end of the layer.
func (l *layer) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		if _, rest := io.Copy(io.Discard, l.blob); rest != nil { // what follows the compressed stream
			return n, rest
		}
		return n, err
	}
	return n, l.blob.damage(err)
}

func (l *layer) Close() error { return errors.Join(l.ReadCloser.Close(), l.blob.file.Close()) }

// checkedBlob reads a blob and compares its content with its digest. One that a disk has damaged is removed, so that it is
// downloaded or pushed again.
type checkedBlob struct {
	file *os.File
	want digest.Digest
	sum  interface {
		io.Writer
		Sum(b []byte) []byte
	}
	err error // of the end
}

func (b *checkedBlob) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.file.Read(p)
	if _, sumErr := b.sum.Write(p[:n]); sumErr != nil {
		return n, sumErr
	}
	if b.err = err; errors.Is(err, io.EOF) {
		if got := digest.NewDigestFromBytes(b.want.Algorithm(), b.sum.Sum(nil)); got != b.want {
			b.err = b.remove()
		}
	}
	return n, b.err
}

// damage returns the error for a blob that cannot be decompressed: that it is damaged, if it is.
func (b *checkedBlob) damage(err error) error {
	if _, readErr := io.Copy(io.Discard, b); readErr != nil {
		return readErr
	}
	return err
}

func (b *checkedBlob) remove() error {
	if err := os.Remove(b.file.Name()); err != nil {
		return fmt.Errorf("%s is damaged, and cannot be removed: %w", b.file.Name(), err)
	}
	return fmt.Errorf("%s was damaged, and has been removed: pull or push its image again", b.file.Name())
}
