package images

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/vbatts/tar-split/tar/storage"

	"github.com/klkube/kl/cluster"
)

// sizer is a Source that knows how many bytes a layer has uncompressed without reading all of it.
type sizer interface {
	size(id digest.Digest) (int64, error)
}

// Exact returns an image of a source with the sizes that its layers have for Blob, or Layer where the source has no Blob. Manifests that kl has
// made for what has none, such as images of Docker's overlay2 store, may have others: nodes do not need them.
func Exact(ctx context.Context, source Source, image Image) (Image, error) {
	n := len(image.Blobs)
	if n < 2 {
		return Image{}, fmt.Errorf("%w: it has %d documents", ErrParts, n)
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(image.Blobs[n-2].Data, &manifest); err != nil {
		return Image{}, fmt.Errorf("%w: read its manifest: %w", ErrParts, err)
	}
	if len(manifest.Layers) != len(image.Layers) {
		return Image{}, fmt.Errorf("%w: its manifest has %d layers, its configuration %d", ErrParts, len(manifest.Layers), len(image.Layers))
	}
	changed := false
	for i, d := range manifest.Layers {
		if d.Digest != image.Layers[i] || hasBlob(ctx, source, d.Digest) {
			continue
		}
		size, err := sizeOf(ctx, source, d.Digest)
		if err != nil {
			return Image{}, fmt.Errorf("layer %s: %w", d.Digest, err)
		}
		changed = changed || size != d.Size
		manifest.Layers[i].Size = size
	}
	if !changed {
		return image, nil
	}
	if n > 2 { // an index names the manifest by its digest
		return Image{}, fmt.Errorf("%w: its manifest has wrong sizes of layers", ErrParts)
	}
	data, err := json.Marshal(manifest)
	image.Blobs = slices.Clone(image.Blobs)
	image.Blobs[0] = cluster.Blob{MediaType: image.Blobs[0].MediaType, Data: data}
	return image, err
}

func hasBlob(ctx context.Context, source Source, d digest.Digest) bool {
	blobs, ok := source.(BlobSource)
	if !ok {
		return false
	}
	r, err := blobs.Blob(ctx, d)
	if err == nil {
		r.Close() // it was not read
	}
	return err == nil
}

func sizeOf(ctx context.Context, source Source, id digest.Digest) (int64, error) {
	if s, ok := source.(sizer); ok {
		return s.size(id)
	}
	r, err := source.Layer(ctx, id)
	if err != nil {
		return 0, err
	}
	size, err := io.Copy(io.Discard, r)
	return size, errors.Join(err, r.Close())
}

// OpenLayer opens a layer as a manifest names it: a blob, or a layer that is not compressed. id is its diff ID.
func OpenLayer(ctx context.Context, source Source, d, id digest.Digest) (io.ReadCloser, error) {
	if blobs, ok := source.(BlobSource); ok {
		r, err := blobs.Blob(ctx, d)
		if !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
	}
	if d != id {
		return nil, fmt.Errorf("layer %s is only there uncompressed", d)
	}
	return source.Layer(ctx, id)
}

// size adds up what a layer's tar is made of.
func (s *engineSource) size(id digest.Digest) (size int64, err error) {
	chain, ok := s.chains[id]
	if !ok {
		return 0, fmt.Errorf("no image has layer %s", id)
	}
	f, err := s.root.Open(filepath.Join(engineLayers, chain.Encoded(), "tar-split.json.gz"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return 0, err
	}
	for entries := storage.NewJSONUnpacker(unzipped); ; {
		entry, err := entries.Next()
		switch {
		case errors.Is(err, io.EOF):
			return size, nil
		case err != nil:
			return 0, err
		case entry.Type == storage.SegmentType:
			size += int64(len(entry.Payload))
		default:
			size += entry.Size
		}
	}
}
