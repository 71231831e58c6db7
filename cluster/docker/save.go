package docker

import (
	"context"
	"fmt"
	"io"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/klkube/kl/cluster"
)

var _ cluster.ImageSource = (*Driver)(nil)

// SaveImages returns images of the engine as one docker-archive.
func (d *Driver) SaveImages(ctx context.Context, names []string) (io.ReadCloser, error) {
	if _, err := d.findImages(ctx, names); err != nil { // for a missing image the engine returns an empty archive
		return nil, err
	}
	r, err := d.client.ImageSave(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("save images: %w", err)
	}
	return r, nil
}

func (d *Driver) findImages(ctx context.Context, names []string) (ids map[string]string, err error) {
	ids = map[string]string{}
	for _, name := range names {
		image, err := d.client.ImageInspect(ctx, name)
		if cerrdefs.IsNotFound(err) {
			return nil, fmt.Errorf("%w: %s", cluster.ErrNoImage, name)
		}
		if err != nil {
			return nil, fmt.Errorf("inspect image %s: %w", name, err)
		}
		ids[name] = image.ID
	}
	return ids, nil
}

// FindImage returns what the engine has under a name.
func (d *Driver) FindImage(ctx context.Context, name string) (cluster.EngineImage, error) {
	image, err := d.client.ImageInspect(ctx, name)
	if cerrdefs.IsNotFound(err) {
		return cluster.EngineImage{}, fmt.Errorf("%w: %s", cluster.ErrNoImage, name)
	}
	if err != nil {
		return cluster.EngineImage{}, fmt.Errorf("inspect image %s: %w", name, err)
	}
	// An engine that keeps images as containerd does names a digest for each of them, so that it says nothing.
	pulled := len(image.RepoDigests) > 0 && image.Descriptor == nil
	return cluster.EngineImage{ID: image.ID, Tagged: image.Metadata.LastTagTime, Pulled: pulled}, nil
}

// ImageIDs returns the IDs of images and, with the storage driver overlay2, the engine's directory.
func (d *Driver) ImageIDs(ctx context.Context, names []string) (ids map[string]string, dir string, err error) {
	ids, err = d.findImages(ctx, names)
	if err != nil {
		return nil, "", err
	}
	info, err := d.client.Info(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("ask the engine for its directory: %w", err)
	}
	if info.Driver == "overlay2" {
		dir = info.DockerRootDir
	}
	return ids, dir, nil
}
