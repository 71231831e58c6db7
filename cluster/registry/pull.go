package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
)

var _ images.Registry = (*Store)(nil)

// Pull opens an image of another registry, or of a mirror of it, and keeps it: what has been pulled is not downloaded again, and is
// there when the registry does not answer. Of a tag, the registry is asked what it stands for; of a digest, it is asked nothing if the
// image is there. auth is for the registry; nil means the user's docker config. Layers are downloaded side by side from now on, whether
// they are read or not, and Layer waits for its own.
//
// The error says where the image was looked for. It wraps cluster.ErrNoImage if no registry knows it, and images.ErrParts if it is no
// image for this machine. Close the source, which ends no download.
func (s *Store) Pull(ctx context.Context, name string, auth *images.Auth) (images.Source, error) {
	named, err := parseName(name)
	if err != nil {
		return nil, err
	}
	endpoints, err := s.Upstream.endpoints(reference.Domain(named))
	if err != nil {
		return nil, err
	}
	p := &pull{store: s, named: named, auth: auth, endpoints: endpoints, repo: s.upstream(named)}
	target, err := p.target(ctx)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", named, err)
	}
	source, err := s.sourceOf(named, target, func(d ocispec.Descriptor) ([]byte, error) { return p.document(ctx, d) })
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", named, err)
	}
	if err := p.note(ctx, target); err != nil {
		return nil, fmt.Errorf("keep %s: %w", named, err)
	}
	source.fetch = p.fetch
	for _, l := range source.layers {
		if !s.has(l.Digest) {
			s.downloads.start(ctx, l.Digest, func(ctx context.Context) error { return p.download(ctx, l) })
		}
	}
	return source, nil
}

// upstream is where what was pulled of another registry's repository is.
func (s *Store) upstream(named reference.Named) repository {
	return repository{s.path("upstream", strings.ReplaceAll(reference.Domain(named)+"/"+reference.Path(named), "/", "+"))}
}

// pull is the pull of one image.
type pull struct {
	store     *Store
	named     reference.Named
	auth      *images.Auth
	endpoints []endpoint
	repo      repository

	clients clients
}

// target finds what the name stands for: an index or a manifest.
func (p *pull) target(ctx context.Context) (ocispec.Descriptor, error) {
	kept, _, keptErr := p.repo.find(referenceOf(p.named))
	if keptErr == nil && !p.store.has(kept.Digest) {
		keptErr = cluster.ErrNoImage
	}
	if keptErr == nil && isDigested(p.named) {
		return kept.Descriptor, nil
	}
	var target ocispec.Descriptor
	err := p.try(ctx, func(c *client) (err error) {
		target, err = c.head(ctx, referenceOf(p.named))
		return err
	})
	if err != nil && keptErr == nil && !refused(err) && ctx.Err() == nil {
		p.store.log().Warn("take an image as it was pulled last, since its registry does not answer", "image", p.named, "reason", err)
		return kept.Descriptor, nil
	}
	return target, err
}

// document reads a manifest or configuration, which is kept.
func (p *pull) document(ctx context.Context, d ocispec.Descriptor) ([]byte, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %.100q is not a digest", images.ErrParts, d.Digest)
	}
	if data, err := p.store.readBlob(d.Digest); err == nil {
		return data, nil
	}
	kind := "blobs"
	if images.IsIndex(d.MediaType) || images.IsManifest(d.MediaType) {
		kind = "manifests"
	}
	var data []byte
	err := p.try(ctx, func(c *client) (err error) {
		data, err = c.document(ctx, kind, d.Digest)
		return err
	})
	if err == nil {
		err = p.store.writeBlob(d.Digest, data)
	}
	return data, err
}

// note has the image be used now, under its name.
func (p *pull) note(ctx context.Context, target ocispec.Descriptor) error {
	tag := referenceOf(p.named)
	if isDigested(p.named) {
		tag = ""
	}
	return p.store.locked(ctx, func() error {
		return p.repo.put(entry{Descriptor: ocispec.Descriptor{MediaType: target.MediaType, Digest: target.Digest, Size: target.Size}}, tag)
	})
}

// fetch waits until a layer is there.
func (p *pull) fetch(ctx context.Context, l ocispec.Descriptor) error {
	d := p.store.downloads.start(ctx, l.Digest, func(ctx context.Context) error { return p.download(ctx, l) })
	select {
	case <-d.done:
		if d.err != nil {
			return fmt.Errorf("pull %s: %w", p.named, d.err)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// try asks one endpoint after the other, first those that have answered before. The error says what each of them said.
func (p *pull) try(ctx context.Context, ask func(*client) error) error {
	var failed failures
	for _, e := range p.endpoints {
		c, err := p.clients.get(ctx, p, e)
		if err == nil {
			err = ask(c)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if full(err) {
			return fmt.Errorf("%w in %s", err, p.store.dir)
		}
		failed = append(failed, failure{c, err})
	}
	return failed
}

// head asks what a tag or digest stands for, which registries do not count as a pull.
func (c *client) head(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	answer, err := c.do(ctx, http.MethodHead, "manifests", reference, "")
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer answer.Body.Close()
	d := ocispec.Descriptor{
		MediaType: mediaType(answer), Digest: digest.Digest(answer.Header.Get("Docker-Content-Digest")), Size: max(answer.ContentLength, 0),
	}
	if d.Digest.Validate() == nil && d.MediaType != "" {
		return d, nil
	}
	return c.describe(ctx, reference)
}

// describe is head for registries that do not say in a header what they have.
func (c *client) describe(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	answer, err := c.do(ctx, http.MethodGet, "manifests", reference, "")
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	defer answer.Body.Close()
	data, err := readDocument(answer.Body)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	e, _, err := parseManifest(data, "")
	if err != nil {
		e, _, err = parseManifest(data, mediaType(answer))
	}
	return ocispec.Descriptor{MediaType: e.MediaType, Digest: e.Digest, Size: e.Size}, err
}

func mediaType(answer *http.Response) string {
	kind, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(kind)
}

func readDocument(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err == nil && len(data) > maxManifest {
		err = fmt.Errorf("it sends a manifest of more than %d MB", maxManifest>>20)
	}
	return data, err
}

// document reads a manifest or configuration.
func (c *client) document(ctx context.Context, kind string, want digest.Digest) ([]byte, error) {
	answer, err := c.do(ctx, http.MethodGet, kind, want.String(), "")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	data, err := readDocument(answer.Body)
	if err != nil {
		return nil, err
	}
	if got := want.Algorithm().FromBytes(data); got != want {
		return nil, &mismatch{want, got}
	}
	return data, nil
}

// mismatch is the error for content that is not what its digest says.
type mismatch struct{ want, got digest.Digest }

func (m *mismatch) Error() string {
	return fmt.Sprintf("what it sends as %s has digest %s", m.want, m.got)
}

// do sends a request. An answer that is none is an error; close the body of any other.
func (c *client) do(ctx context.Context, method, kind, what, span string) (*http.Response, error) {
	at := c.base
	at.Path += "/" + kind + "/" + what
	r, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return nil, err
	}
	if kind == "manifests" {
		r.Header.Set("Accept", strings.Join(images.MediaTypes(), ", "))
	}
	if span != "" {
		r.Header.Set("Range", span)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(answer, http.StatusOK, http.StatusPartialContent); err != nil {
		return nil, errors.Join(err, answer.Body.Close())
	}
	return answer, nil
}
