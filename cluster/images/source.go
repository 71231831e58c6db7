package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/klkube/kl/cluster"

	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Source is where images come from. Layers are read one by one, so that those which nodes have are not read at all.
type Source interface {
	// Images lists the images, for this machine's platform. The error is ErrParts if they cannot be taken apart.
	Images(ctx context.Context) ([]Image, error)
	// Layer opens a layer of one of the images as an uncompressed tar.
	Layer(ctx context.Context, id digest.Digest) (io.ReadCloser, error)
	Close() error
}

// BlobSource is a Source that has layers as manifests name them, such as compressed. The error wraps fs.ErrNotExist for a layer that it
// has no other way than uncompressed.
type BlobSource interface {
	Blob(ctx context.Context, d digest.Digest) (io.ReadCloser, error)
}

// Image is an image without the content of its layers.
type Image struct {
	cluster.ImageParts
	Layers []digest.Digest `json:"layers"` // diff IDs: digests of the layers as uncompressed tars, the lowest first
}

// Found returns what nodes may know the image by.
func (i Image) Found() ArchiveImage {
	found := ArchiveImage{Names: i.Names}
	for _, b := range i.Blobs {
		found.Digests = append(found.Digests, digest.FromBytes(b.Data).String())
	}
	return found
}

// ID is the digest of the image's configuration.
func (i Image) ID() digest.Digest {
	if len(i.Blobs) == 0 {
		return ""
	}
	return digest.FromBytes(i.Blobs[len(i.Blobs)-1].Data)
}

// Digest is that of the image's index or manifest.
func (i Image) Digest() digest.Digest {
	if len(i.Blobs) == 0 {
		return ""
	}
	return digest.FromBytes(i.Blobs[0].Data)
}

// Size returns how many bytes the layers have as the manifest names them, such as compressed.
func (i Image) Size() (size int64, err error) {
	if len(i.Blobs) < 2 {
		return 0, fmt.Errorf("%w: it has no manifest", ErrParts)
	}
	var manifest ocispec.Manifest
	err = json.Unmarshal(i.Blobs[len(i.Blobs)-2].Data, &manifest)
	for _, l := range manifest.Layers {
		size += l.Size
	}
	return size, err
}

// ErrParts is returned for images that are not made of an OCI or Docker manifest, a configuration and layers in tars, or that lack
// one of these.
var ErrParts = errors.New("its images cannot be taken apart")

// Docker's media types of what OCI has, too.
const (
	dockerManifestType = "application/vnd.docker.distribution.manifest.v2+json"
	dockerIndexType    = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// Blobs reads the JSON documents of images by digest. It need not check them.
type Blobs func(d ocispec.Descriptor) ([]byte, error)

// Take reads an image from its index or manifest down to its configuration, for this machine's platform: attestations and other
// platforms are not read. It returns the manifest's layers as well, in the order of the image's. The error is ErrParts for what is no
// image that this machine can run; if that is because of its platform, it names those that there are.
func (read Blobs) Take(target ocispec.Descriptor) (Image, []ocispec.Descriptor, error) {
	var image Image
	add := func(d ocispec.Descriptor, into any) error {
		data, err := read(d)
		if err != nil {
			return err
		}
		if got := digest.FromBytes(data); got != d.Digest {
			return fmt.Errorf("%s has digest %s", d.Digest, got)
		}
		image.Blobs = append(image.Blobs, cluster.Blob{MediaType: d.MediaType, Data: data})
		if err := json.Unmarshal(data, into); err != nil {
			return fmt.Errorf("%w: read %s: %w", ErrParts, d.Digest, err)
		}
		return nil
	}
	for depth := 0; IsIndex(target.MediaType); depth++ {
		var index ocispec.Index
		if err := add(target, &index); err != nil {
			return Image{}, nil, err
		}
		next, ok := here(index.Manifests)
		if !ok || depth == maxDepth {
			return Image{}, nil, fmt.Errorf("%w: %s has no image for linux/%s%s", ErrParts, target.Digest, runtime.GOARCH, others(index.Manifests))
		}
		target = next
	}
	if !IsManifest(target.MediaType) {
		return Image{}, nil, fmt.Errorf("%w: %s is of media type %q", ErrParts, target.Digest, target.MediaType)
	}
	var manifest ocispec.Manifest
	if err := add(target, &manifest); err != nil {
		return Image{}, nil, err
	}
	var config ocispec.Image
	if err := add(manifest.Config, &config); err != nil {
		return Image{}, nil, err
	}
	image.Layers = config.RootFS.DiffIDs
	if err := checkLayers(config, len(manifest.Layers)); err != nil {
		return Image{}, nil, err
	}
	return image, manifest.Layers, nil
}

// maxDepth is how far indexes may name indexes.
const maxDepth = 4

// IsIndex reports whether a media type is that of an index, OCI's or Docker's.
func IsIndex(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageIndex || mediaType == dockerIndexType
}

// IsManifest reports whether a media type is that of a manifest, OCI's or Docker's.
func IsManifest(mediaType string) bool {
	return mediaType == ocispec.MediaTypeImageManifest || mediaType == dockerManifestType
}

// MediaTypes are those of indexes and manifests, as a registry is asked for them.
func MediaTypes() []string {
	return []string{ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, dockerIndexType, dockerManifestType}
}

// others lists the platforms of an index, for a message; empty if there are none.
func others(manifests []ocispec.Descriptor) string {
	var list []string
	for _, m := range manifests {
		if m.Platform == nil || m.Platform.OS == "unknown" { // an attestation's
			continue
		}
		p := m.Platform.OS + "/" + m.Platform.Architecture
		if m.Platform.Variant != "" {
			p += "/" + m.Platform.Variant
		}
		list = appendNew(list, quoted(p))
	}
	if len(list) == 0 {
		return ""
	}
	return ", only for " + strings.Join(list, ", ")
}

// here finds the manifest for this machine's platform: of its variants the one that containerd takes, which knows of the others, too.
func here(manifests []ocispec.Descriptor) (found ocispec.Descriptor, ok bool) {
	machine := platforms.Default()
	for _, m := range manifests {
		p := m.Platform
		if p == nil {
			p = &ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH} // its configuration says what it is
		}
		if p.OS != "linux" || p.Architecture != runtime.GOARCH || !machine.Match(*p) {
			continue
		}
		if !ok || machine.Less(*p, *found.Platform) {
			found, ok = m, true
			found.Platform = p
		}
	}
	return found, ok
}

// checkLayers returns an error unless a configuration is of an image that this machine can run, with that many layers.
func checkLayers(config ocispec.Image, n int) error {
	ids := config.RootFS.DiffIDs
	if config.OS != "linux" || config.Architecture != runtime.GOARCH {
		return fmt.Errorf("%w: the image is for %s/%s", ErrParts, config.OS, config.Architecture)
	}
	if len(ids) == 0 || len(ids) != n {
		return fmt.Errorf("%w: the configuration has %d layers, and the manifest %d", ErrParts, len(ids), n)
	}
	for _, id := range ids {
		if err := id.Validate(); err != nil || id.Algorithm() != digest.SHA256 {
			return fmt.Errorf("%w: %s is not the SHA-256 digest of a layer", ErrParts, quoted(id.String()))
		}
	}
	return nil
}
