package images

import (
	"context"
	"fmt"

	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
)

// Prune removes the images that no container uses and returns them; those that were loaded only if loaded is set. An image
// named in keep stays.
func (s *Store) Prune(ctx context.Context, loaded bool, keep ...string) ([]cluster.Image, error) {
	all, err := s.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	containers, err := s.client.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, c := range containers {
		keep = append(keep, c.Image)
	}
	remove := unused(all, keep, loaded)
	removed := s.describe(ctx, remove)
	for i, image := range remove {
		var wait []coreimages.DeleteOpt
		if i == len(remove)-1 { // content is removed by then, not some time later
			wait = append(wait, coreimages.SynchronousDelete())
		}
		if err := s.client.ImageService().Delete(ctx, image.Name, wait...); err != nil && !errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("remove image %s: %w", image.Name, err)
		}
	}
	return removed, nil
}

// unused returns the images that have nothing in common with one of those in keep, and, unless loaded is set, no name with a pin.
func unused(all []coreimages.Image, keep []string, loaded bool) []coreimages.Image {
	names, stays := map[string]bool{}, map[digest.Digest]bool{}
	for _, name := range keep {
		names[name] = true
	}
	for _, image := range all {
		if names[image.Name] || !loaded && image.Labels[pinKey] == pinned {
			stays[image.Target.Digest] = true
		}
	}
	var list []coreimages.Image
	for _, image := range all {
		if !stays[image.Target.Digest] {
			list = append(list, image)
		}
	}
	return list
}
