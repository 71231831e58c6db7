// Package images puts images into a node's container runtime and lists them, without a registry.
//
//	store, err := images.Open("/run/containerd/containerd.sock")
//	…
//	imported, err := store.Import(ctx, file) // docker-archive or OCI tar
package images

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
)

// namespace is where the kubelet's images are.
const namespace = "k8s.io"

// Store is the image store of a running containerd. It is safe for concurrent use.
type Store struct {
	client *containerd.Client
}

// Open connects to containerd. It does not wait for it: see Ready.
func Open(socket string) (*Store, error) {
	client, err := containerd.New(socket, containerd.WithDefaultNamespace(namespace))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	return &Store{client: client}, nil
}

// Close ends the connection.
func (s *Store) Close() error { return s.client.Close() }

// Ready tells whether containerd serves.
func (s *Store) Ready(ctx context.Context) (bool, error) { return s.client.IsServing(ctx) }

// Pods returns why containerd, although it serves, cannot run pods: its CRI plugin did not load. The kubelet would only say
// that it does not know the service. Nothing but a new start of containerd mends it.
func (s *Store) Pods(ctx context.Context) error {
	resp, err := s.client.IntrospectionService().Plugins(ctx, `type==io.containerd.grpc.v1,id==cri`)
	if err != nil {
		return fmt.Errorf("list containerd's plugins: %w", err)
	}
	for _, p := range resp.Plugins {
		if p.InitErr != nil {
			return fmt.Errorf("load containerd's CRI plugin: %s", p.InitErr.Message)
		}
	}
	return nil
}

// Has tells whether an image of that name is there.
func (s *Store) Has(ctx context.Context, name string) bool {
	_, err := s.client.ImageService().Get(ctx, name)
	return err == nil
}

// Import reads an archive and returns its images, unpacked and ready to run. Content that is there already is not
// written again. An archive that lacks the blobs of other platforms, as `docker save` writes it, is fine.
func (s *Store) Import(ctx context.Context, archive io.Reader) ([]cluster.Image, error) {
	ctx, done, err := s.client.WithLease(ctx) // keeps the garbage collector away from what has no name yet
	if err != nil {
		return nil, fmt.Errorf("lease content: %w", err)
	}
	defer done(ctx)
	imported, err := s.client.Import(ctx, archive,
		containerd.WithAllPlatforms(true), containerd.WithSkipMissing(),
		containerd.WithImageRefTranslator(normalize),
		containerd.WithDigestRef(func(d digest.Digest) string { return "kl.local/imported@" + d.String() }),
		containerd.WithSkipDigestRef(func(name string) bool { return name != "" }),
	)
	if err != nil {
		return nil, fmt.Errorf("import archive: %w", err)
	}
	for _, image := range imported {
		if err := containerd.NewImage(s.client, image).Unpack(ctx, ""); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", image.Name, err)
		}
	}
	return s.describe(ctx, imported), nil
}

// normalize is the full name of an image that an archive gives a short one. A bare tag, which OCI archives may carry,
// names nothing.
func normalize(name string) string {
	if !strings.ContainsAny(name, "/:@") {
		return ""
	}
	ref, err := reference.ParseDockerRef(name)
	if err != nil {
		return ""
	}
	return ref.String()
}

// List returns every image, ordered by name.
func (s *Store) List(ctx context.Context) ([]cluster.Image, error) {
	all, err := s.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	return s.describe(ctx, all), nil
}

// describe gathers the names of each manifest. Sizes are those of the compressed content; an image whose content is
// incomplete counts what is there.
func (s *Store) describe(ctx context.Context, all []coreimages.Image) []cluster.Image {
	byDigest := map[string]*cluster.Image{}
	for _, image := range all {
		key := image.Target.Digest.String()
		entry, ok := byDigest[key]
		if !ok {
			entry = &cluster.Image{Digest: key}
			byDigest[key] = entry
			known := containerd.NewImage(s.client, image)
			if size, err := known.Size(ctx); err == nil {
				entry.Size = size
			}
			if config, err := known.Config(ctx); err == nil {
				entry.Config = config.Digest.String()
			}
		}
		if !strings.HasPrefix(image.Name, "sha256:") { // the CRI's own name, after the image's configuration
			entry.Names = append(entry.Names, image.Name)
		}
	}
	list := make([]cluster.Image, 0, len(byDigest))
	for _, entry := range byDigest {
		slices.Sort(entry.Names)
		list = append(list, *entry)
	}
	slices.SortFunc(list, func(a, b cluster.Image) int {
		return cmp.Or(slices.Compare(a.Names, b.Names), strings.Compare(a.Digest, b.Digest))
	})
	return list
}
