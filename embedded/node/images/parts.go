package images

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/klkube/kl/cluster"
)

// Loaded returns the parts of the images that were loaded, for another node to assemble: it may have no other way to get them.
func (s *Store) Loaded(ctx context.Context) ([]cluster.ImageParts, error) {
	all, err := s.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	loaded := []cluster.ImageParts{}
	at := map[digest.Digest]int{} // index into loaded, -1 for an image that is not whole
	for _, image := range all {
		if image.Labels[pinKey] != pinned || image.Name == cluster.PauseImage || isCRIName(image.Name) {
			continue
		}
		i, known := at[image.Target.Digest]
		if !known {
			parts, err := s.parts(ctx, image.Target)
			switch {
			case errdefs.IsNotFound(err):
				i = -1
			case err != nil:
				return nil, fmt.Errorf("read image %s: %w", image.Name, err)
			default:
				i = len(loaded)
				since, _ := time.Parse(time.RFC3339Nano, image.Labels[sinceKey]) // see Find
				loaded = append(loaded, cluster.ImageParts{Blobs: parts, Source: source(image), Since: since})
			}
			at[image.Target.Digest] = i
		}
		if i >= 0 && image.Name != nameless(image.Target.Digest) {
			loaded[i].Names = append(loaded[i].Names, image.Name)
		}
	}
	return loaded, nil
}

// parts reads the documents of an image, down to the configuration. The error is errdefs.ErrNotFound if one is not there.
func (s *Store) parts(ctx context.Context, d ocispec.Descriptor) ([]cluster.Blob, error) {
	store, here := s.client.ContentStore(), platforms.Default()
	children := coreimages.LimitManifests(coreimages.FilterPlatforms(coreimages.ChildrenHandler(store), here), here, 1)
	var parts []cluster.Blob
	for {
		data, err := content.ReadBlob(ctx, store, d)
		if err != nil {
			return nil, err
		}
		parts = append(parts, cluster.Blob{MediaType: d.MediaType, Data: data})
		switch {
		case coreimages.IsManifestType(d.MediaType):
			var manifest ocispec.Manifest
			if err := json.Unmarshal(data, &manifest); err != nil {
				return nil, err
			}
			d = manifest.Config
		case coreimages.IsIndexType(d.MediaType):
			next, err := children(ctx, d)
			if err != nil {
				return nil, err
			}
			if len(next) == 0 {
				return nil, fmt.Errorf("find the platform in %s: %w", d.Digest, errdefs.ErrNotFound)
			}
			d = next[0]
		default: // the configuration
			return parts, nil
		}
	}
}
