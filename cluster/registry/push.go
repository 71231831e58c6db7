package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
)

// Push sends an image of a source to the registry that a name has, with the user's credentials, and returns the digest that it has there.
// Layers that the registry has are not sent. Layers that are only there uncompressed are compressed, unless the registry is on this machine.
// Progress is called with bytes of layers, sent and in all; it may be nil.
func (u Upstream) Push(ctx context.Context, target string, source images.Source, image images.Image, progress func(sent, total int64)) (string, error) {
	named, err := parseName(target)
	if err != nil {
		return "", err
	}
	if isDigested(named) {
		return "", fmt.Errorf("push %s: want a tag, not a digest", target)
	}
	endpoints, err := u.endpoints(reference.Domain(named))
	if err != nil {
		return "", err
	}
	to := endpoints[len(endpoints)-1] // not a mirror
	var options []name.Option
	if to.plain {
		options = append(options, name.Insecure)
	}
	ref, err := name.NewTag(to.host+"/"+reference.Path(named)+":"+referenceOf(named), options...)
	if err != nil {
		return "", err
	}
	base, err := u.transport(to)
	if err != nil {
		return "", err
	}
	credentials, who := u.credentials(ctx, to, nil)
	img, err := imageOf(ctx, source, image, loopback(to.host))
	if err != nil {
		return "", fmt.Errorf("push %s: %w", target, err)
	}
	err = withProgress(progress, func(updates remote.Option) error {
		return remote.Write(ref, img, updates, remote.WithContext(ctx), remote.WithAuth(credentials), remote.WithTransport(base))
	})
	if err != nil {
		return "", fmt.Errorf("push %s: %s", target, pushWords(failure{client: &client{endpoint: to, who: who}, err: err}))
	}
	d, err := img.Digest()
	return d.String(), err
}

// withProgress runs a push, and passes on how far it is.
func withProgress(progress func(sent, total int64), push func(remote.Option) error) error {
	updates, ended := make(chan v1.Update, 100), make(chan struct{})
	go func() {
		defer close(ended)
		for u := range updates {
			if progress != nil && u.Error == nil {
				progress(u.Complete, u.Total)
			}
		}
	}()
	err := push(remote.WithProgress(updates)) // closes the channel
	<-ended
	return err
}

// pushWords says why a registry did not take an image.
func pushWords(f failure) string {
	switch status := f.status(); status {
	case 0:
		return f.client.place() + " " + f.trouble()
	case http.StatusUnauthorized, http.StatusForbidden:
		if strings.HasPrefix(f.client.who, "no credentials") {
			return f.client.place() + " wants credentials; there are no credentials for it: run 'docker login " + f.client.place() + "'"
		}
		return f.client.place() + " refuses " + f.client.who + f.said()
	default:
		return f.client.place() + " " + f.words()
	}
}

// imageOf is an image of a source as a registry gets it.
func imageOf(ctx context.Context, source images.Source, image images.Image, local bool) (v1.Image, error) {
	image, err := images.Exact(ctx, source, image)
	if err != nil {
		return nil, err
	}
	n := len(image.Blobs)
	var manifest ocispec.Manifest
	if err := json.Unmarshal(image.Blobs[n-2].Data, &manifest); err != nil {
		return nil, err
	}
	p := pushed{ctx, source, image.Blobs[n-2], image.Blobs[n-1].Data, manifest.Layers, image.Layers}
	if !local && !p.compressed() {
		return partial.UncompressedToImage(plainImage{p})
	}
	return partial.CompressedToImage(p)
}

// pushed implements partial.CompressedImageCore.
type pushed struct {
	ctx      context.Context // go-containerregistry's interfaces have none
	source   images.Source
	manifest cluster.Blob
	config   []byte
	layers   []ocispec.Descriptor
	ids      []digest.Digest // diff IDs
}

// compressed reports whether the layers are, in the manifest.
func (p pushed) compressed() bool {
	for i, l := range p.layers {
		if l.Digest == p.ids[i] {
			return false
		}
	}
	return true
}

func (p pushed) MediaType() (types.MediaType, error) {
	return types.MediaType(p.manifest.MediaType), nil
}
func (p pushed) RawManifest() ([]byte, error)   { return p.manifest.Data, nil }
func (p pushed) RawConfigFile() ([]byte, error) { return p.config, nil }

func (p pushed) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for i, l := range p.layers {
		if l.Digest.String() == h.String() {
			return pushedLayer{p, l, p.ids[i]}, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

// pushedLayer implements partial.CompressedLayer.
type pushedLayer struct {
	image pushed
	as    ocispec.Descriptor
	id    digest.Digest
}

func (l pushedLayer) Digest() (v1.Hash, error) { return v1.NewHash(l.as.Digest.String()) }
func (l pushedLayer) DiffID() (v1.Hash, error) { return v1.NewHash(l.id.String()) }
func (l pushedLayer) Size() (int64, error)     { return l.as.Size, nil }
func (l pushedLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(l.as.MediaType), nil
}
func (l pushedLayer) Compressed() (io.ReadCloser, error) {
	return images.OpenLayer(l.image.ctx, l.image.source, l.as.Digest, l.id)
}

// plainImage implements partial.UncompressedImageCore: go-containerregistry compresses the layers and makes the manifest.
type plainImage struct{ pushed }

// MediaType is of the manifest that is made.
func (plainImage) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

func (p plainImage) LayerByDiffID(h v1.Hash) (partial.UncompressedLayer, error) {
	for _, id := range p.ids {
		if id.String() == h.String() {
			return plainLayer{p.pushed, id}, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

// plainLayer implements partial.UncompressedLayer.
type plainLayer struct {
	image pushed
	id    digest.Digest
}

func (l plainLayer) DiffID() (v1.Hash, error)          { return v1.NewHash(l.id.String()) }
func (plainLayer) MediaType() (types.MediaType, error) { return types.OCILayer, nil }

func (l plainLayer) Uncompressed() (io.ReadCloser, error) {
	return l.image.source.Layer(l.image.ctx, l.id)
}
