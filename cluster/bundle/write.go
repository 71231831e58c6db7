package bundle

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
)

// Item is an image for a bundle. It has names.
type Item struct {
	images.Image
	From images.Source // of its layers
}

// Progress is how far Write is.
type Progress struct {
	Image  string // whose layer is written
	Layers int    // that are written
	Bytes  int64  // of layers that are written, before compression
}

// Written is what Write has written.
type Written struct {
	Images int   `json:"images"`
	Layers int   `json:"layers"`
	Bytes  int64 `json:"bytes"` // of layers, before compression
}

// Write writes images. The same images make the same bytes. Progress is called at most once for every megabyte and layer; it may be nil.
func Write(ctx context.Context, w io.Writer, items []Item, progress func(Progress)) (Written, error) {
	items = sorted(items)
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(2)) // not all processors: the output is the same with any number
	if err != nil {
		return Written{}, err
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	b := &writer{tar: tar.NewWriter(z), written: map[digest.Digest]bool{}, progress: progress}
	if err := b.write(ctx, items); err != nil {
		z.Reset(nil) // ends its goroutines
		return Written{}, err
	}
	if err := errors.Join(b.tar.Close(), z.Close()); err != nil {
		return Written{}, err
	}
	return Written{Images: len(items), Layers: b.at.Layers, Bytes: b.at.Bytes}, nil
}

// sorted returns the images in the order of their names, each once.
func sorted(items []Item) []Item {
	var list []Item
	for _, item := range items {
		i := slices.IndexFunc(list, func(have Item) bool { return have.Digest() == item.Digest() })
		if i < 0 {
			item.Names = slices.Clone(item.Names)
			list = append(list, item)
			continue
		}
		list[i].Names = append(list[i].Names, item.Names...)
	}
	for i := range list {
		slices.Sort(list[i].Names)
		list[i].Names = slices.Compact(list[i].Names)
	}
	slices.SortFunc(list, func(a, b Item) int {
		return cmp.Or(slices.Compare(a.Names, b.Names), cmp.Compare(a.Digest(), b.Digest()))
	})
	return list
}

// writer writes one bundle.
type writer struct {
	tar      *tar.Writer
	written  map[digest.Digest]bool // blobs
	at       Progress
	progress func(Progress)
}

func (b *writer) write(ctx context.Context, items []Item) error {
	if err := b.file(ocispec.ImageLayoutFile, []byte(`{"imageLayoutVersion":"`+ocispec.ImageLayoutVersion+`"}`)); err != nil {
		return err
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, item := range items {
		b.at.Image = images.Short(cmp.Or(append(item.Names, "")[0], item.Digest().String()))
		parts, err := b.layers(ctx, item)
		if err != nil {
			return fmt.Errorf("%s: %w", b.at.Image, err)
		}
		for _, blob := range parts {
			d := digest.FromBytes(blob.Data)
			if b.written[d] {
				continue
			}
			if err := b.file(blobName(d), blob.Data); err != nil {
				return err
			}
			b.written[d] = true
		}
		index.Manifests = append(index.Manifests, descriptors(parts[0], item.Names)...)
	}
	data, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return b.file(ocispec.ImageIndexFile, data)
}

// descriptors returns an entry of the index for each name.
func descriptors(first cluster.Blob, names []string) []ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: first.MediaType, Digest: digest.FromBytes(first.Data), Size: int64(len(first.Data))}
	if len(names) == 0 {
		return []ocispec.Descriptor{d}
	}
	var list []ocispec.Descriptor
	for _, name := range names {
		named := d
		named.Annotations = map[string]string{"io.containerd.image.name": name}
		if _, tag, ok := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":"); ok && !strings.Contains(name, "@") {
			named.Annotations[ocispec.AnnotationRefName] = tag
		}
		list = append(list, named)
	}
	return list
}

func blobName(d digest.Digest) string {
	return ocispec.ImageBlobsDir + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// layers writes the layers of an image that are not there, and returns its documents.
func (b *writer) layers(ctx context.Context, item Item) ([]cluster.Blob, error) {
	image, err := images.Exact(ctx, item.From, item.Image)
	if err != nil {
		return nil, err
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(image.Blobs[len(image.Blobs)-2].Data, &manifest); err != nil {
		return nil, fmt.Errorf("read its manifest: %w", err)
	}
	for i, d := range manifest.Layers {
		if b.written[d.Digest] {
			continue
		}
		if err := b.layer(ctx, item.From, d, image.Layers[i]); err != nil {
			return nil, fmt.Errorf("layer %s: %w", d.Digest, err)
		}
		b.written[d.Digest] = true
		b.at.Layers++
		b.progress(b.at)
	}
	return image.Blobs, nil
}

// layer writes a layer as its manifest names it.
func (b *writer) layer(ctx context.Context, from images.Source, d ocispec.Descriptor, id digest.Digest) error {
	if err := d.Digest.Validate(); err != nil {
		return err
	}
	r, err := images.OpenLayer(ctx, from, d.Digest, id)
	if err != nil {
		return err
	}
	defer r.Close()
	return b.stream(ctx, d.Digest, d.Size, r)
}

// stream writes a blob, of which it checks size and digest.
func (b *writer) stream(ctx context.Context, d digest.Digest, size int64, r io.Reader) error {
	if err := b.header(blobName(d), size); err != nil {
		return err
	}
	check := d.Verifier()
	n, err := copyBytes(ctx, io.MultiWriter(b.tar, check), io.LimitReader(r, size), b.count)
	if err != nil {
		return err
	}
	more, err := io.ReadFull(r, make([]byte, 1))
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return err
	case n != size || more > 0:
		return fmt.Errorf("it does not have the %d bytes that its manifest says", size)
	case !check.Verified():
		return errors.New("it is damaged: its content has another digest")
	}
	return nil
}

const reportEvery = 1 << 20 // bytes

func (b *writer) count(n int) {
	before := b.at.Bytes / reportEvery
	if b.at.Bytes += int64(n); b.at.Bytes/reportEvery > before {
		b.progress(b.at)
	}
}

func (b *writer) file(name string, data []byte) error {
	if err := b.header(name, int64(len(data))); err != nil {
		return err
	}
	_, err := b.tar.Write(data)
	return err
}

// header begins a file. It has nothing that differs from machine to machine.
func (b *writer) header(name string, size int64) error {
	return b.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg})
}

// copyBytes copies until a context ends, and counts.
func copyBytes(ctx context.Context, to io.Writer, from io.Reader, count func(int)) (total int64, err error) {
	buffer := make([]byte, 256<<10)
	for {
		if err := context.Cause(ctx); err != nil {
			return total, err
		}
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return total, err
			}
			total += int64(n)
			count(n)
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
