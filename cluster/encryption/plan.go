package encryption

import (
	"errors"
	"slices"

	"github.com/klkube/kl/cluster"
)

// Goal is where a change ends: every object of these resources is stored under the key, and of all others under none.
type Goal struct {
	Resources []string
	Key       Key
}

// StepKind is the kind of a step.
type StepKind string

// The kinds, in the order in which they come.
const (
	StepAdd  StepKind = "add"  // the API servers learn to read under the new key; none writes with it
	StepUse  StepKind = "use"  // all can read under it: they begin to write with it
	StepDrop StepKind = "drop" // no object is under the old keys any more: they are removed
	StepDone StepKind = "done"
)

// Step is what to do next. A step is done once the file holds Config and every API server has loaded that.
type Step struct {
	Kind   StepKind
	Config Config
	// Rewrite is what must be true before Config is written, for StepDrop: every object of the resource is stored under the key.
	Rewrite map[string]Key
}

// ErrPlugin is the error of a change that the API server cannot make in one go: of the list of resources while a KMS plugin encrypts
// them.
var ErrPlugin = errors.New("the resources cannot change while a KMS plugin encrypts them: change to another provider first")

// Next returns the next step from a Config, which every API server has loaded, to a goal. It keeps two promises whatever step a change
// is interrupted at, and while some API servers have loaded the next Config and others have not: each can read what any of them
// writes, and no key is removed that an object is stored under.
func Next(c Config, g Goal) (Step, error) {
	targets := g.targets(c)
	readable := c.withKeys(targets)
	if !readable.loadable() {
		return g.detour(c)
	}
	if !readable.equal(c) {
		return Step{Kind: StepAdd, Config: readable}, nil
	}
	first, rewrite := Config{}, map[string]Key{}
	for r, keys := range c {
		target := targets[r]
		others := slices.DeleteFunc(slices.Clone(keys), target.Same)
		first[r] = append([]Key{target}, others...)
		if len(others) > 0 {
			rewrite[r] = target
		}
	}
	if !first.equal(c) {
		return Step{Kind: StepUse, Config: first}, nil
	}
	last := g.last(targets)
	if !last.equal(c) {
		return Step{Kind: StepDrop, Config: last, Rewrite: rewrite}, nil
	}
	return Step{Kind: StepDone, Config: c}, nil
}

// targets returns the key of each resource that c or g names.
func (g Goal) targets(c Config) map[string]Key {
	t := map[string]Key{}
	for r := range c {
		t[r] = Plain()
	}
	for _, r := range g.Resources {
		t[r] = g.Key
	}
	return t
}

// withKeys returns c with each resource's target added, or brought up to date, and all else in its place.
func (c Config) withKeys(targets map[string]Key) Config {
	out := Config{}
	for r, target := range targets {
		keys := slices.Clone(c.list(r))
		if i := slices.IndexFunc(keys, target.Same); i >= 0 {
			keys[i] = target
		} else {
			keys = append(keys, target)
		}
		out[r] = keys
	}
	return out
}

// last returns the Config that a change ends with. Resources that are stored as they are need no mention, but the API server wants one.
func (g Goal) last(targets map[string]Key) Config {
	out := Config{}
	for r, k := range targets {
		if k.Provider != cluster.EncryptionNone || slices.Contains(g.Resources, r) {
			out[r] = []Key{k}
		}
	}
	if len(out) == 0 {
		for r, k := range targets {
			out[r] = []Key{k}
		}
	}
	return out
}

// detour returns the next step to a goal that would need a plugin's name in two lists. It first changes the resources with a key that
// is no plugin's, or first the key of the resources there are.
func (g Goal) detour(c Config) (Step, error) {
	var goals []Goal
	if k, ok := newest(c.Keys(), Key.local); ok {
		goals = append(goals, Goal{Resources: g.Resources, Key: k})
	}
	goals = append(goals, Goal{Resources: c.Resources(), Key: g.Key})
	for _, sub := range goals {
		if !c.withKeys(sub.targets(c)).loadable() {
			continue
		}
		if s, err := Next(c, sub); err == nil && s.Kind != StepDone {
			return s, nil
		}
	}
	return Step{}, ErrPlugin
}
