package images

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
)

// Remove removes names of images. Names that containerd has beside them go with the last one: the one by digest, with the last tag of its
// repository; those of the CRI plugin, with the last name of the image, and with it the image. A name that is not there is no error:
// another command may have removed it. Nor is it one that a container uses the image: it runs on.
func (s *Store) Remove(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return errors.New("remove images: no name is given")
	}
	if slices.Contains(names, cluster.PauseImage) {
		return fmt.Errorf("remove image %s: every pod of the node needs it", cluster.PauseImage)
	}
	all, err := s.client.ImageService().List(ctx)
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	remove := withCompanions(all, names)
	for i, name := range remove {
		var wait []coreimages.DeleteOpt
		if i == len(remove)-1 { // content is removed by then, not some time later
			wait = append(wait, coreimages.SynchronousDelete())
		}
		if err := s.client.ImageService().Delete(ctx, name, wait...); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove image %s: %w", name, err)
		}
	}
	return nil
}

// withCompanions returns those of the names that are there, and those that have no use without them.
func withCompanions(all []coreimages.Image, names []string) []string {
	gone := map[string]bool{}
	for _, name := range names {
		gone[name] = true
	}
	kept := map[string]bool{} // by name that a tag keeps
	for _, image := range all {
		if !gone[image.Name] {
			kept[byDigest(image)] = true
		}
	}
	for _, image := range all {
		if digestName := byDigest(image); gone[image.Name] && !kept[digestName] {
			gone[digestName] = true
		}
	}
	stays := map[digest.Digest]bool{} // what has a name that a person gave it
	for _, image := range all {
		if !gone[image.Name] && !isCRIName(image.Name) {
			stays[image.Target.Digest] = true
		}
	}
	var remove []string
	for _, image := range all {
		own := isCRIName(image.Name) && !stays[image.Target.Digest] && hasGone(all, gone, image.Target.Digest)
		if gone[image.Name] || own {
			remove = append(remove, image.Name)
		}
	}
	return remove
}

func hasGone(all []coreimages.Image, gone map[string]bool, d digest.Digest) bool {
	return slices.ContainsFunc(all, func(image coreimages.Image) bool { return image.Target.Digest == d && gone[image.Name] })
}

// isCRIName reports whether a name is the CRI plugin's own: the digest of the image's configuration.
func isCRIName(name string) bool { return strings.HasPrefix(name, "sha256:") }
