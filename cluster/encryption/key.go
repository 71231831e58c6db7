package encryption

import (
	"bytes"
	"crypto/rand"
	"strings"
	"time"

	"github.com/klkube/kl/cluster"
)

// Key is what objects can be stored under: a key, a KMS plugin, or nothing (provider none). It is printed without its secret.
type Key struct {
	Provider cluster.EncryptionProvider
	Name     string // of the key or of the plugin; empty for provider none
	Secret   []byte `json:"-"`
	Endpoint string // of the plugin
	Timeout  time.Duration
}

// Plain stores objects as they are.
func Plain() Key { return Key{Provider: cluster.EncryptionNone} }

// keySize is the size of new keys in bytes: all that secretbox takes, and the most that AES takes.
const keySize = 32

// nameFormat is how a key's name tells when it was made, in UTC.
const nameFormat = "key-20060102-150405"

// NewKey makes a key that none of taken has the name of. For provider kms use [PluginKey].
func NewKey(provider cluster.EncryptionProvider, now time.Time, taken []Key) Key {
	k := Key{Provider: provider, Secret: make([]byte, keySize)}
	_, _ = rand.Read(k.Secret) // never fails
	for _, t := range taken {
		if made := t.Made(); !now.After(made) { // also if the clock was set back: names tell which key is newer
			now = made.Add(time.Second)
		}
	}
	for k.Name = now.UTC().Format(nameFormat); named(taken, k.Name); k.Name = now.UTC().Format(nameFormat) {
		now = now.Add(time.Second)
	}
	return k
}

// KeyFor returns the key of a new cluster.
func KeyFor(e cluster.Encryption, now time.Time) Key {
	switch e.Provider {
	case cluster.EncryptionNone:
		return Plain()
	case cluster.EncryptionKMS:
		return PluginKey(e.KMS)
	}
	return NewKey(e.Provider, now, nil)
}

func named(keys []Key, name string) bool {
	for _, k := range keys {
		if k.Name == name {
			return true
		}
	}
	return false
}

// PluginKey is the Key of a KMS plugin.
func PluginKey(k cluster.KMS) Key {
	timeout, err := time.ParseDuration(k.Timeout)
	if err != nil { // which has been checked
		timeout = cluster.DefaultKMSTimeout
	}
	return Key{Provider: cluster.EncryptionKMS, Name: k.Name, Endpoint: k.Endpoint, Timeout: timeout}
}

// Made returns when the key was made; zero if its name does not tell.
func (k Key) Made() time.Time {
	t, err := time.Parse(nameFormat, k.Name)
	if err != nil || k.Provider == cluster.EncryptionKMS {
		return time.Time{}
	}
	return t
}

// Same reports whether objects stored under k are stored under o.
func (k Key) Same(o Key) bool { return k.Provider == o.Provider && k.Name == o.Name }

func (k Key) equal(o Key) bool {
	return k.Same(o) && bytes.Equal(k.Secret, o.Secret) && k.Endpoint == o.Endpoint && k.Timeout == o.Timeout
}

func (k Key) local() bool { return k.Secret != nil }

// String names the key for people.
func (k Key) String() string {
	if k.Provider == cluster.EncryptionNone {
		return "no key"
	}
	return string(k.Provider) + " " + k.Name
}

// GoString is String: a key's secret is never printed.
func (k Key) GoString() string { return k.String() }

// encrypted is how the values of encrypted objects begin in etcd, whatever the provider.
const encrypted = "k8s:enc:"

// Under returns what a value of etcd is stored under; the result has provider and name only. The name is empty if the value has a form
// that the API server does not write.
func Under(value []byte) Key {
	const longest = 512 // of a prefix: longer names are none of kl's
	head := string(value[:min(len(value), longest)])
	rest, ok := strings.CutPrefix(head, encrypted)
	if !ok {
		return Plain()
	}
	provider, rest, _ := strings.Cut(rest, ":")
	_, rest, _ = strings.Cut(rest, ":") // v1, or v2 of kms
	name, _, found := strings.Cut(rest, ":")
	if !found {
		name = ""
	}
	return Key{Provider: cluster.EncryptionProvider(provider), Name: name}
}
