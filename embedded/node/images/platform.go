package images

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// runnable returns an error if the store holds no part of an image that this machine can run. An archive may lack parts that
// the image's index names: `docker save` writes only what the engine has.
func runnable(ctx context.Context, provider content.Provider, image coreimages.Image) error {
	have, err := present(ctx, provider, image.Target)
	if err != nil {
		return fmt.Errorf("read the platforms of %s: %w", image.Name, err)
	}
	here := platforms.Default()
	if slices.ContainsFunc(have, here.Match) {
		return nil
	}
	names := "none of its platforms is in the archive"
	if len(have) > 0 {
		var list []string
		for _, p := range have {
			list = append(list, platforms.Format(p))
		}
		slices.Sort(list)
		names = "the image is for " + strings.Join(slices.Compact(list), ", ")
	}
	want := platforms.Format(platforms.DefaultSpec())
	return fmt.Errorf("%s cannot run here: %s, the node is %s; build it with --platform %s", image.Name, names, want, want)
}

// present returns the platforms of which the store has a manifest and its configuration.
func present(ctx context.Context, provider content.Provider, desc ocispec.Descriptor) ([]ocispec.Platform, error) {
	data, err := content.ReadBlob(ctx, provider, desc)
	switch {
	case errdefs.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case coreimages.IsManifestType(desc.MediaType):
		return platform(ctx, provider, data)
	case !coreimages.IsIndexType(desc.MediaType):
		return nil, fmt.Errorf("%s is neither a manifest nor an index", desc.MediaType)
	}
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, err
	}
	var all []ocispec.Platform
	for _, m := range index.Manifests {
		if m.Platform != nil && m.Platform.OS == "unknown" { // an attestation of BuildKit
			continue
		}
		some, err := present(ctx, provider, m)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// platform returns the platform that the configuration of a manifest names. One that names none is taken for this machine's.
func platform(ctx context.Context, provider content.Provider, data []byte) ([]ocispec.Platform, error) {
	var manifest ocispec.Manifest
	if err := json.Unmarshal(data, &manifest); err != nil {
		return nil, err
	}
	p, err := coreimages.ConfigPlatform(ctx, provider, manifest.Config)
	if errdefs.IsNotFound(err) {
		return nil, nil
	}
	if p.Architecture == "" {
		p = platforms.DefaultSpec()
	}
	return []ocispec.Platform{p}, err
}
