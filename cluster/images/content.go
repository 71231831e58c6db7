package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// contentStore reads images of an engine that keeps them in a containerd. Its content store has indexes, manifests, configurations and
// layers as files that are named by their digest; layers are as they were built or pulled, most of them compressed.
type contentStore struct {
	root   *os.Root                             // with a directory for each algorithm
	layers map[digest.Digest]ocispec.Descriptor // by diff ID
}

// Where a containerd's content store is: where nodes see the engine's, and below the directory of containerd.
func contentDirs() []string { return []string{"content", "io.containerd.content.v1.content"} }

// openContent opens the content store below an engine's directory. It returns nil if there is none.
func openContent(engine *os.Root) *contentStore {
	for _, dir := range contentDirs() {
		if root, err := engine.OpenRoot(filepath.Join(dir, "blobs")); err == nil {
			return &contentStore{root: root, layers: map[digest.Digest]ocispec.Descriptor{}}
		}
	}
	return nil
}

func (s *contentStore) Close() error {
	if s == nil {
		return nil
	}
	return s.root.Close()
}

// has reports whether a blob is there.
func (s *contentStore) has(d digest.Digest) bool {
	if s == nil || d.Validate() != nil {
		return false
	}
	_, err := s.root.Stat(blobPath(d))
	return err == nil
}

func blobPath(d digest.Digest) string { return filepath.Join(d.Algorithm().String(), d.Encoded()) }

// open opens a blob. The error is ErrParts if it is not there: the store has no blobs of platforms that were not pulled.
func (s *contentStore) open(d digest.Digest) (*os.File, int64, error) {
	if err := d.Validate(); err != nil {
		return nil, 0, fmt.Errorf("%w: %s is not a digest", ErrParts, quoted(d.String()))
	}
	f, err := s.root.Open(blobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w: the engine has no blob %s", ErrParts, d)
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// read reads a JSON document.
func (s *contentStore) read(d digest.Digest) ([]byte, error) {
	f, size, err := s.open(d)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxIndexSize {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrParts, d, size)
	}
	return io.ReadAll(f)
}

// image reads an image from its index or manifest on, and notes where its layers are.
func (s *contentStore) image(target digest.Digest) (Image, error) {
	mediaType, err := s.mediaType(target)
	if err != nil {
		return Image{}, err
	}
	image, layers, err := Blobs(func(d ocispec.Descriptor) ([]byte, error) { return s.read(d.Digest) }).Take(ocispec.Descriptor{MediaType: mediaType, Digest: target})
	if err != nil {
		return Image{}, err
	}
	for i, l := range layers {
		f, size, err := s.open(l.Digest)
		if err != nil {
			return Image{}, err
		}
		if err := f.Close(); err != nil {
			return Image{}, err
		}
		if size != l.Size {
			return Image{}, fmt.Errorf("the engine's blob %s has %d bytes, and its manifest says %d", l.Digest, size, l.Size)
		}
		s.layers[image.Layers[i]] = l
	}
	return image, nil
}

// mediaType finds out what an image begins with. OCI leaves it to a document whether it says so.
func (s *contentStore) mediaType(target digest.Digest) (string, error) {
	data, err := s.read(target)
	if err != nil {
		return "", err
	}
	var document struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		return "", fmt.Errorf("%w: read %s: %w", ErrParts, target, err)
	}
	switch {
	case document.MediaType != "":
		return document.MediaType, nil
	case document.Manifests != nil:
		return ocispec.MediaTypeImageIndex, nil
	}
	return ocispec.MediaTypeImageManifest, nil
}

// layer opens a layer of an image that has been read.
func (s *contentStore) layer(id digest.Digest) (io.ReadCloser, error) {
	f, _, err := s.open(s.layers[id].Digest)
	if err != nil {
		return nil, err
	}
	return DecompressLayer(id, f, f)
}
