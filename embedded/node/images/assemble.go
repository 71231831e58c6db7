package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/klkube/kl/cluster"
)

// Assemble makes images of their parts, without the content of layers: the snapshotter has those. It fails if one is missing there.
func (s *Store) Assemble(ctx context.Context, parts []cluster.ImageParts) ([]cluster.Image, error) {
	ctx, done, err := s.client.WithLease(ctx)
	if err != nil {
		return nil, fmt.Errorf("lease content: %w", err)
	}
	defer func() { _ = done(ctx) }() // see Import
	before, err := s.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var assembled []coreimages.Image
	for _, p := range parts {
		made, err := s.assemble(ctx, p)
		assembled = append(assembled, made...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("assemble %v: %w", p.Names, err), s.restore(context.WithoutCancel(ctx), before, assembled))
		}
	}
	return s.complete(ctx, before, assembled)
}

// assemble writes the parts of one image and gives it its names.
func (s *Store) assemble(ctx context.Context, p cluster.ImageParts) ([]coreimages.Image, error) {
	if len(p.Blobs) == 0 {
		return nil, errors.New("it has no parts")
	}
	store := s.client.ContentStore()
	target := descriptor(p.Blobs[0])
	for _, b := range p.Blobs {
		d := descriptor(b)
		if err := content.WriteBlob(ctx, store, "kl-"+d.Digest.String(), bytes.NewReader(b.Data), d); err != nil {
			return nil, err
		}
	}
	// Labels keep the garbage collector from what a blob names.
	here := platforms.Default()
	children := coreimages.LimitManifests(coreimages.FilterPlatforms(coreimages.ChildrenHandler(store), here), here, 1)
	if err := coreimages.Walk(ctx, coreimages.SetChildrenLabels(store, children), target); err != nil {
		return nil, err
	}
	names := p.Names
	if len(names) == 0 {
		names = []string{nameless(target.Digest)}
	}
	var made []coreimages.Image
	for _, name := range names {
		image := coreimages.Image{Name: name, Target: target, Labels: labels(p.Source, p.Since)}
		_, err := s.client.ImageService().Update(ctx, image, "target", "labels."+pinKey, "labels."+sinceKey, "labels."+sourceKey)
		if errdefs.IsNotFound(err) {
			_, err = s.client.ImageService().Create(ctx, image)
		}
		if err != nil {
			return made, fmt.Errorf("name image %s: %w", name, err)
		}
		made = append(made, image)
	}
	return made, nil
}

func descriptor(b cluster.Blob) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: b.MediaType, Digest: digest.FromBytes(b.Data), Size: int64(len(b.Data))}
}

// Recover makes the CRI plugin know images again after a start of containerd: it passes over those without the content of layers,
// although it needs none, until they change.
func (s *Store) Recover(ctx context.Context) error {
	all, err := s.client.ImageService().List(ctx)
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	var errs []error
	for _, image := range all {
		whole, _, _, _, err := coreimages.Check(ctx, s.client.ContentStore(), image.Target, platforms.Default())
		if err == nil && whole {
			continue
		}
		if _, err := s.client.ImageService().Update(ctx, image, "target"); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("recover image %s: %w", image.Name, err))
		}
	}
	return errors.Join(errs...)
}
