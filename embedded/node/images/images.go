// Package images puts images into a node's container runtime and lists them, without a registry.
package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
)

// namespace is containerd's namespace of the kubelet.
const namespace = "k8s.io"

// The label with which the kubelet spares an image when it removes those that were not used for long: one that was loaded cannot be
// pulled again.
const (
	pinKey = "io.cri-containerd.pinned"
	pinned = "pinned"
)

// Labels of kl's own.
const (
	// sourceKey says where an image came from, as cluster.Image has it.
	sourceKey = "kl.local/source"
	// sinceKey is the time at which an image got its name: here, or where the node has it from. What containerd notes of an image changes
	// whenever any label does.
	sinceKey = "kl.local/since"
)

// sourceArchive is the source of images that were sent whole.
const sourceArchive = "archive"

// labels are those of an image that kl brings. The zero time is now.
func labels(source string, since time.Time) map[string]string {
	if since.IsZero() {
		since = time.Now()
	}
	return map[string]string{pinKey: pinned, sourceKey: source, sinceKey: since.UTC().Format(time.RFC3339Nano)}
}

// Store is the image store of a running containerd. It is safe for concurrent use.
type Store struct {
	client *containerd.Client
	uses   func(context.Context) (map[string][]cluster.ImageUse, error) // by digest of the configuration; nil asks the CRI plugin
}

// Open returns a store that connects to containerd when it is first used. Whether containerd serves is what Ready reports.
func Open(socket string) (*Store, error) {
	client, err := containerd.New(socket, containerd.WithDefaultNamespace(namespace))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	return &Store{client: client}, nil
}

// Close ends the connection.
func (s *Store) Close() error { return s.client.Close() }

// Ready reports whether containerd serves.
func (s *Store) Ready(ctx context.Context) (bool, error) { return s.client.IsServing(ctx) }

// CheckCRI returns an error if containerd serves but cannot run pods, because its CRI plugin did not load. The kubelet would
// only report an unknown service. Only a restart of containerd helps.
func (s *Store) CheckCRI(ctx context.Context) error {
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

// Has reports whether there is an image of that name.
func (s *Store) Has(ctx context.Context, name string) (bool, error) {
	_, err := s.client.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find image %s: %w", name, err)
	}
	return true, nil
}

// Find returns what there is under a full name; nil for nothing.
func (s *Store) Find(ctx context.Context, name string) (*images.Have, error) {
	image, err := s.client.ImageService().Get(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, nil //nolint:nilnil // nothing
	}
	if err != nil {
		return nil, fmt.Errorf("find image %s: %w", name, err)
	}
	have := images.Have{Digest: image.Target.Digest}
	have.Since, _ = time.Parse(time.RFC3339Nano, image.Labels[sinceKey])             // without the label it is from a registry, or older than the label
	if config, err := containerd.NewImage(s.client, image).Config(ctx); err == nil { // parts of it may have been removed
		have.ID = config.Digest
	}
	return &have, nil
}

// Import reads a docker-archive or OCI archive and returns its images, unpacked and ready to run. Content that is there
// already is not written again. The archive may lack the blobs of other platforms, as those of `docker save` do.
func (s *Store) Import(ctx context.Context, archive io.Reader) ([]cluster.Image, error) {
	ctx, done, err := s.client.WithLease(ctx) // keeps the garbage collector from content that no image refers to yet
	if err != nil {
		return nil, fmt.Errorf("lease content: %w", err)
	}
	defer func() { _ = done(ctx) }() // if it fails, the lease expires after a day
	before, err := s.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	imported, err := s.client.Import(ctx, archive,
		containerd.WithAllPlatforms(true), containerd.WithSkipMissing(),
		containerd.WithImageRefTranslator(normalize),
		containerd.WithDigestRef(nameless),
		containerd.WithSkipDigestRef(func(name string) bool { return name != "" }),
		containerd.WithImageLabels(labels(sourceArchive, time.Time{})),
	)
	if err != nil {
		return nil, fmt.Errorf("import archive: %w", err)
	}
	return s.complete(ctx, before, imported)
}

// complete makes images that were imported ready to run. If that fails, they have never been there.
func (s *Store) complete(ctx context.Context, before, imported []coreimages.Image) ([]cluster.Image, error) {
	all, err := s.finish(ctx, imported)
	if err != nil {
		return nil, errors.Join(err, s.restore(context.WithoutCancel(ctx), before, imported))
	}
	if err := s.unpin(ctx, before, all); err != nil {
		return nil, err
	}
	return s.describe(ctx, all), nil
}

// nameless is the name of an image that has none.
func nameless(d digest.Digest) string { return "kl.local/imported@" + d.String() }

// unpin lets the kubelet collect what has lost its name to an imported image, as every build but the last one of an image that is loaded
// again and again: it has no name left but the one by digest that Import gave it.
func (s *Store) unpin(ctx context.Context, before, imported []coreimages.Image) error {
	taken, named := map[string]digest.Digest{}, map[digest.Digest]bool{}
	for _, image := range imported {
		taken[image.Name] = image.Target.Digest
		named[image.Target.Digest] = true
	}
	for _, image := range before {
		if _, lost := taken[image.Name]; !lost && byDigest(image) != "" {
			named[image.Target.Digest] = true
		}
	}
	for _, image := range before {
		now, lost := taken[image.Name]
		old := byDigest(image)
		if !lost || old == "" || now == image.Target.Digest || named[image.Target.Digest] {
			continue
		}
		_, err := s.client.ImageService().Update(ctx, coreimages.Image{Name: old, Target: image.Target}, "labels."+pinKey)
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("unpin image %s: %w", old, err)
		}
	}
	return nil
}

// finish unpacks imported images and adds the names by digest with which a pod may ask for them. It returns all names.
func (s *Store) finish(ctx context.Context, imported []coreimages.Image) ([]coreimages.Image, error) {
	named := map[string]bool{}
	for _, image := range imported {
		if err := runnable(ctx, s.client.ContentStore(), image); err != nil {
			return nil, err
		}
		if err := s.unpack(ctx, image); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", image.Name, err)
		}
		named[image.Name] = true
	}
	for _, image := range imported { // not those that are added
		name := byDigest(image)
		if name == "" || named[name] {
			continue
		}
		named[name] = true
		image.Name = name
		if _, err := s.client.ImageService().Create(ctx, image); err != nil && !errdefs.IsAlreadyExists(err) {
			return nil, fmt.Errorf("name image %s: %w", name, err)
		}
		imported = append(imported, image)
	}
	return imported, nil
}

// byDigest returns the name of an image's repository with the digest of the image, "" if its name is a digest or has one already. The
// kubelet asks for name@digest, and for name:tag@digest, under this name.
func byDigest(image coreimages.Image) string {
	ref, err := reference.ParseNormalizedNamed(image.Name)
	if err != nil || strings.HasPrefix(image.Name, "sha256:") {
		return ""
	}
	if _, has := ref.(reference.Digested); has {
		return ""
	}
	return reference.TrimNamed(ref).Name() + "@" + image.Target.Digest.String()
}

// restore gives the names of imported images back to what had them before: what cannot run must not take the name of what can.
func (s *Store) restore(ctx context.Context, before, imported []coreimages.Image) error {
	was := map[string]coreimages.Image{}
	for _, image := range before {
		was[image.Name] = image
	}
	var errs []error
	for _, image := range imported {
		for _, name := range []string{image.Name, byDigest(image)} {
			var err error
			if old, found := was[name]; found {
				_, err = s.client.ImageService().Update(ctx, old)
			} else if err = s.client.ImageService().Delete(ctx, name); errdefs.IsNotFound(err) || name == "" {
				err = nil
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// normalize returns the full name for an image's name in an archive. It is empty for a bare tag, which OCI archives may have
// instead of a name.
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

// List returns every image, ordered by name, with the pods that use it.
func (s *Store) List(ctx context.Context) ([]cluster.Image, error) {
	all, err := s.client.ImageService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	uses, err := s.listUses(ctx)
	if err != nil {
		return nil, err
	}
	list := s.describe(ctx, all)
	for i := range list {
		list[i].Uses = uses[list[i].Config]
	}
	return list, nil
}

// describe returns one entry for each manifest, with all its names. Sizes are those of the compressed content; the size and
// configuration of an image with incomplete content are left out.
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
		entry.Source = cmp.Or(entry.Source, source(image))
		if !isCRIName(image.Name) {
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
