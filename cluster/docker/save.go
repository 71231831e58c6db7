package docker

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/system"

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
		found, err := d.FindImage(ctx, name)
		if err != nil {
			return nil, err
		}
		ids[name] = found.ID
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

// ImageTags returns names that differ from an image's in their tags alone.
func (d *Driver) ImageTags(ctx context.Context, name string) ([]string, error) {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, fmt.Errorf("list tags of %.200q: %w", name, err)
	}
	repository := reference.FamiliarName(ref)
	list, err := d.client.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", repository))})
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", repository, err)
	}
	var tags []string
	for _, i := range list {
		for _, tag := range i.RepoTags { // of all repositories that have the image
			if strings.HasPrefix(tag, repository+":") {
				tags = append(tags, tag)
			}
		}
	}
	slices.Sort(tags)
	return tags, nil
}

// ImageIDs returns the IDs of images and the directory of the engine or of its containerd, if that has images as files.
func (d *Driver) ImageIDs(ctx context.Context, names []string) (ids map[string]string, dir string, err error) {
	ids, err = d.findImages(ctx, names)
	if err != nil {
		return nil, "", err
	}
	info, err := d.client.Info(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("ask the engine for its directory: %w", err)
	}
	return ids, imagesDir(info), nil
}

// imagesDir returns the directory below which an engine has its images; empty if these are no files. An engine that keeps images as
// containerd does, as Docker 29 unless told otherwise, uses the machine's containerd, or starts one with a directory in its own.
func imagesDir(info system.Info) string {
	switch {
	case !inContainerd(info) && info.Driver == "overlay2":
		return info.DockerRootDir
	case !inContainerd(info):
		return ""
	}
	own := filepath.Join(info.DockerRootDir, "containerd", "daemon")
	if info.Containerd != nil { // since Docker 27
		if socket := info.Containerd.Address; socket == "/run/containerd/containerd.sock" || socket == "/var/run/containerd/containerd.sock" {
			return machineContainerd
		}
		return own
	}
	if _, err := os.Stat(own); err != nil {
		return machineContainerd
	}
	return own
}

// machineContainerd is the directory of a containerd that the machine runs for everyone.
const machineContainerd = "/var/lib/containerd"

func inContainerd(info system.Info) bool {
	return slices.ContainsFunc(info.DriverStatus, func(s [2]string) bool { return s[1] == containerdStore })
}
