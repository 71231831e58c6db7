// Package images is where nodes of a cluster get images from: the container engine of the machine, kl's own registry, registries of the
// network. Nodes ask through the tunnel; see [images.FindRequest].
package images

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/embedded/lifecycle"
)

const (
	// engineTimeout is for what an engine answers within milliseconds. A pod whose image the node has does not wait longer.
	engineTimeout = 5 * time.Second
	// engineRetry is how long no engine is looked for after there was none.
	engineRetry = 5 * time.Second
)

// Engine is a container engine.
type Engine interface {
	cluster.ImageSource
	Close() error
}

// Finder is a component of the control plane. Its fields are set before it is used and not changed.
type Finder struct {
	// OpenEngine connects to the machine's container engine. The error wraps cluster.ErrNoEngine if there is none.
	OpenEngine func(ctx context.Context) (Engine, error)
	Registry   images.Registry // nil for none
	Logger     *slog.Logger

	mu     sync.Mutex
	engine Engine
	failed time.Time // when OpenEngine failed
	reason error     // why
	warned string    // what was logged last of an engine

	sources sources
}

var _ lifecycle.Component = (*Finder)(nil)

// Name implements lifecycle.Component.
func (f *Finder) Name() cluster.ComponentName { return "images" }

// Run implements lifecycle.Component. It closes what nodes have left open.
func (f *Finder) Run(ctx context.Context, ready func()) error {
	ready()
	f.sources.run(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.engine == nil {
		return ctx.Err()
	}
	engine := f.engine
	f.engine = nil
	return errors.Join(ctx.Err(), engine.Close())
}

// local is what the machine has under a name.
type local struct {
	found  images.Found
	id     digest.Digest // of the configuration, index or manifest
	pulled bool          // it came from a registry
	source images.Source // of kl's registry
}

// Find finds an image. The error wraps cluster.ErrNoImage, and says where it was looked for, if there is none of that name.
func (f *Finder) Find(ctx context.Context, r images.FindRequest) (images.Found, error) {
	ref, err := reference.ParseNormalizedNamed(r.Name)
	if err != nil {
		return images.Found{}, fmt.Errorf("find image %.200q: %w", r.Name, err)
	}
	ref = reference.TagNameOnly(ref)
	here, looked, err := f.local(ctx, ref, r.Pull)
	if err != nil {
		return images.Found{}, err
	}
	if here != nil && (!r.Pull || !here.pulled) {
		return f.give(*here, r.Have)
	}
	if !r.Pull || f.Registry == nil {
		return images.Found{}, fmt.Errorf("%w: %s is not in %s", cluster.ErrNoImage, ref, strings.Join(looked, ", nor in "))
	}
	source, err := f.Registry.Pull(ctx, ref.String(), r.Auth)
	if err == nil {
		list, err := source.Images(ctx)
		if err != nil || len(list) != 1 {
			return images.Found{}, errors.Join(fmt.Errorf("read image %s: %w", ref, err), source.Close())
		}
		return f.give(local{found: images.Found{From: images.FromUpstream, Image: &list[0]}, id: list[0].ID(), source: source}, r.Have)
	}
	if ctx.Err() != nil {
		return images.Found{}, ctx.Err()
	}
	if here != nil { // it may be old, but it is what can be had
		f.Logger.Warn("take the engine's image, since its registry does not give it", "image", ref, "reason", err)
		return f.give(*here, r.Have)
	}
	if r.Have != nil {
		f.Logger.Warn("the node's image stays, since its registry does not give it", "image", ref, "reason", err)
		return images.Found{From: images.FromNode}, nil
	}
	return images.Found{}, fmt.Errorf("%s is not in %s; %w", reference.FamiliarString(ref), strings.Join(looked, ", nor in "), err)
}

// give decides whether a node takes what was found: what it has stays if it is the same, or younger, as after `kl image load`.
func (f *Finder) give(l local, have *images.Have) (images.Found, error) {
	if have != nil && (have.ID == l.id || have.Digest == l.id || !l.found.Tagged.IsZero() && have.Since.After(l.found.Tagged)) {
		if l.source != nil {
			return images.Found{From: images.FromNode}, l.source.Close()
		}
		return images.Found{From: images.FromNode}, nil
	}
	if l.source != nil {
		l.found.Source = f.sources.add(l.source)
	}
	return l.found, nil
}

// local finds what the engine or kl's registry has under a name, of both what got it last; nil if it is in neither. It returns where it
// looked, too, and with explain what is there instead.
func (f *Finder) local(ctx context.Context, ref reference.Named, explain bool) (here *local, looked []string, err error) {
	name := ref.String()
	image, err := f.inEngine(ctx, name)
	switch {
	case err == nil:
		here = &local{found: images.Found{From: images.FromEngine, ID: image.ID, Tagged: image.Tagged}, id: digest.Digest(image.ID), pulled: image.Pulled}
	case errors.Is(err, cluster.ErrNoImage):
		others := ""
		if explain {
			others = f.others(ctx, name)
		}
		looked = append(looked, "the container engine"+others)
	default:
		looked = append(looked, "the container engine ("+err.Error()+")")
	}
	if f.Registry == nil {
		return here, looked, nil
	}
	source, tagged, err := f.Registry.Find(ctx, name)
	if errors.Is(err, cluster.ErrNoImage) {
		return here, append(looked, "kl's registry"), nil
	}
	if err != nil {
		return nil, nil, err
	}
	if here != nil && here.found.Tagged.After(tagged) {
		return here, nil, source.Close()
	}
	list, err := source.Images(ctx)
	if err != nil || len(list) != 1 {
		return nil, nil, errors.Join(fmt.Errorf("read image %s of kl's registry: %w", name, err), source.Close())
	}
	found := images.Found{From: images.FromRegistry, Tagged: tagged, Image: &list[0]}
	return &local{found: found, id: list[0].ID(), source: source}, nil, nil
}

// inEngine finds an image in the engine.
func (f *Finder) inEngine(ctx context.Context, name string) (cluster.EngineImage, error) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	engine, err := f.open(ctx)
	if err != nil {
		return cluster.EngineImage{}, err
	}
	image, err := engine.FindImage(ctx, name)
	if err != nil && !errors.Is(err, cluster.ErrNoImage) {
		f.warn(err)
	}
	return image, err
}

// maxTags is how many names a message gives.
const maxTags = 3

// others says which tags of an image the engine has instead. It is empty for none.
func (f *Finder) others(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	engine, err := f.open(ctx)
	if err != nil {
		return ""
	}
	tags, err := engine.ImageTags(ctx, name)
	if err != nil || len(tags) == 0 { // it only helps
		return ""
	}
	more := ""
	if len(tags) > maxTags {
		more = fmt.Sprintf(" and %d more", len(tags)-maxTags)
		tags = tags[:maxTags]
	}
	return " (it has " + strings.Join(tags, ", ") + more + ")"
}

// open returns the connection to the engine.
func (f *Finder) open(ctx context.Context) (Engine, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.engine != nil {
		return f.engine, nil
	}
	if f.reason != nil && time.Since(f.failed) < engineRetry {
		return nil, f.reason
	}
	engine, err := f.OpenEngine(ctx)
	if err != nil {
		var known *cluster.Error
		if errors.As(err, &known) { // the hint is about nodes
			err = known.Err
		}
		f.failed, f.reason = time.Now(), err
		return nil, err
	}
	f.engine, f.reason = engine, nil
	return engine, nil
}

// warn logs what is wrong with the engine, once.
func (f *Finder) warn(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text := err.Error(); text != f.warned {
		f.warned = text
		f.Logger.Warn("the container engine does not say which images it has", "reason", err)
	}
}
