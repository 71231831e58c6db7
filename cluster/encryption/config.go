package encryption

import (
	"maps"
	"slices"

	"github.com/klkube/kl/cluster"
)

// Config says, for each resource, what the API server can read its objects under. The first key of a list is the one that it writes
// with. A resource that is not listed is stored as it is.
type Config map[string][]Key

// New is the Config of a new cluster, with a key of its own.
func New(e cluster.Encryption, key Key) Config {
	c := Config{}
	for _, r := range e.Resources {
		c[r] = []Key{key}
	}
	return c
}

// Spec returns the Encryption that c stands for: the key that the first encrypted resource is written with, and all that are.
func (c Config) Spec() cluster.Encryption {
	e := cluster.Encryption{Provider: cluster.EncryptionNone}
	for _, r := range c.Resources() {
		k := c.Writes(r)
		if k.Provider == cluster.EncryptionNone {
			continue
		}
		if e.Provider == cluster.EncryptionNone {
			e.Provider = k.Provider
		}
		if k.Provider == cluster.EncryptionKMS {
			e.KMS = cluster.KMS{Name: k.Name, Endpoint: k.Endpoint, Timeout: k.Timeout.String()}
		}
		e.Resources = append(e.Resources, r)
	}
	return e.Default()
}

// Resources returns the resources in order.
func (c Config) Resources() []string { return slices.Sorted(maps.Keys(c)) }

// Settled reports whether no change is under way: each resource is read under one key.
func (c Config) Settled() bool {
	for _, keys := range c {
		if len(keys) != 1 {
			return false
		}
	}
	return true
}

// Rotating reports whether a resource is read under two keys of one provider, as during the rotation of a key.
func (c Config) Rotating(provider cluster.EncryptionProvider) bool {
	for _, keys := range c {
		n := 0
		for _, k := range keys {
			if k.Provider == provider {
				n++
			}
		}
		if n > 1 {
			return true
		}
	}
	return false
}

// Keys returns every key once, in the order of resources, without provider none.
func (c Config) Keys() []Key {
	var all []Key
	for _, r := range c.Resources() {
		for _, k := range c[r] {
			if k.Provider != cluster.EncryptionNone && !slices.ContainsFunc(all, k.Same) {
				all = append(all, k)
			}
		}
	}
	return all
}

// Newest returns the key of a provider that was made last; false if there is none.
func (c Config) Newest(provider cluster.EncryptionProvider) (Key, bool) {
	return newest(c.Keys(), func(k Key) bool { return k.Provider == provider })
}

func newest(keys []Key, fits func(Key) bool) (Key, bool) {
	var found Key
	any := false
	for _, k := range keys {
		if fits(k) && (!any || k.Made().After(found.Made())) {
			found, any = k, true
		}
	}
	return found, any
}

// Writes returns what the API server stores a resource's objects under.
func (c Config) Writes(resource string) Key { return c.list(resource)[0] }

func (c Config) list(resource string) []Key {
	if keys := c[resource]; len(keys) > 0 {
		return keys
	}
	return []Key{Plain()}
}

func (c Config) equal(o Config) bool { return maps.EqualFunc(c, o, equalLists) }

func equalLists(a, b []Key) bool { return slices.EqualFunc(a, b, Key.equal) }

// loadable reports whether the API server takes the configuration: it refuses a plugin's name in two lists.
func (c Config) loadable() bool {
	lists := map[string][]Key{}
	for _, keys := range c {
		for _, k := range keys {
			if k.Provider != cluster.EncryptionKMS {
				continue
			}
			if other, ok := lists[k.Name]; ok && !equalLists(keys, other) {
				return false
			}
			lists[k.Name] = keys
		}
	}
	return true
}
