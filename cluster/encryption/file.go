package encryption

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// The file is an EncryptionConfiguration of Kubernetes. Its Go types are part of the API server, which kl does not link.
const (
	fileVersion = "apiserver.config.k8s.io/v1"
	fileKind    = "EncryptionConfiguration"
)

type file struct {
	APIVersion string  `json:"apiVersion"`
	Kind       string  `json:"kind"`
	Resources  []entry `json:"resources"`
}

type entry struct {
	Resources []string   `json:"resources"`
	Providers []provider `json:"providers"`
}

type provider struct {
	Secretbox *keyList  `json:"secretbox,omitempty"`
	AESCBC    *keyList  `json:"aescbc,omitempty"`
	AESGCM    *keyList  `json:"aesgcm,omitempty"`
	KMS       *plugin   `json:"kms,omitempty"`
	Identity  *struct{} `json:"identity,omitempty"`
}

type keyList struct {
	Keys []keyEntry `json:"keys"`
}

type keyEntry struct {
	Name   string `json:"name"`
	Secret string `json:"secret"` // base64
}

type plugin struct {
	APIVersion string `json:"apiVersion"`
	Name       string `json:"name"`
	Endpoint   string `json:"endpoint"`
	Timeout    string `json:"timeout,omitempty"`
}

// Read returns the Config of a cluster and the hash of its file, as the API server tells it. The error is [cluster.Damaged]
// if the file is missing or not one that kl can change.
func Read(l cluster.Layout) (Config, string, error) {
	data, err := statefile.Read(l.EncryptionConfig())
	var c Config
	if err == nil {
		c, err = parse(data)
	}
	if err != nil {
		return nil, "", cluster.Damaged(l, l.EncryptionConfig(), err)
	}
	return c, hash(data), nil
}

// Write replaces the file, all or nothing, with mode 0600. A stamp that is not empty becomes a comment: the API server loads the
// same configuration again when the file's text changes.
func Write(l cluster.Layout, c Config, stamp string) error {
	data, err := c.marshal()
	if err != nil {
		return fmt.Errorf("encode %s: %w", l.EncryptionConfig(), err)
	}
	if stamp != "" {
		data = append([]byte("# "+stamp+"\n"), data...)
	}
	return statefile.Write(l.EncryptionConfig(), data, 0o600)
}

func hash(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

// marshal groups the resources that have the same list.
func (c Config) marshal() ([]byte, error) {
	f := file{APIVersion: fileVersion, Kind: fileKind}
	var lists [][]Key
	for _, r := range c.Resources() {
		i := slices.IndexFunc(lists, func(o []Key) bool { return equalLists(o, c[r]) })
		if i < 0 {
			i = len(lists)
			lists = append(lists, c[r])
			f.Resources = append(f.Resources, entry{Providers: providers(c[r])})
		}
		f.Resources[i].Resources = append(f.Resources[i].Resources, r)
	}
	return yaml.Marshal(f)
}

// providers writes neighbouring keys of one provider as one entry.
func providers(keys []Key) []provider {
	var out []provider
	for i, k := range keys {
		if i > 0 && k.local() && keys[i-1].Provider == k.Provider {
			list, _ := out[len(out)-1].keys()
			list.Keys = append(list.Keys, k.entry())
			continue
		}
		list := &keyList{Keys: []keyEntry{k.entry()}}
		switch k.Provider {
		case cluster.EncryptionSecretbox:
			out = append(out, provider{Secretbox: list})
		case cluster.EncryptionAESCBC:
			out = append(out, provider{AESCBC: list})
		case cluster.EncryptionAESGCM:
			out = append(out, provider{AESGCM: list})
		case cluster.EncryptionKMS:
			out = append(out, provider{KMS: &plugin{APIVersion: "v2", Name: k.Name, Endpoint: k.Endpoint, Timeout: k.Timeout.String()}})
		default:
			out = append(out, provider{Identity: &struct{}{}})
		}
	}
	return out
}

func (k Key) entry() keyEntry {
	return keyEntry{Name: k.Name, Secret: base64.StdEncoding.EncodeToString(k.Secret)}
}

// keys returns the keys of a provider that has some, or nil.
func (p provider) keys() (*keyList, cluster.EncryptionProvider) {
	switch {
	case p.Secretbox != nil:
		return p.Secretbox, cluster.EncryptionSecretbox
	case p.AESCBC != nil:
		return p.AESCBC, cluster.EncryptionAESCBC
	case p.AESGCM != nil:
		return p.AESGCM, cluster.EncryptionAESGCM
	}
	return nil, ""
}

// parse reads what marshal writes, and what people write as long as it says the same. Errors never quote a secret.
func parse(data []byte) (Config, error) {
	var f file
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		return nil, statefile.Plain(err)
	}
	switch {
	case f.APIVersion != fileVersion || f.Kind != fileKind:
		return nil, fmt.Errorf("apiVersion and kind are %q and %q, not %q and %q", f.APIVersion, f.Kind, fileVersion, fileKind)
	case len(f.Resources) == 0:
		return nil, errors.New("it names no resources")
	}
	c := Config{}
	for _, e := range f.Resources {
		keys, err := e.list()
		if err != nil {
			return nil, err
		}
		for _, r := range e.Resources {
			if strings.Contains(r, "*") {
				return nil, fmt.Errorf("%q stands for many resources: name each", r)
			}
			if _, twice := c[r]; twice {
				return nil, fmt.Errorf("%s stands twice", r)
			}
			c[r] = slices.Clone(keys)
		}
	}
	if len(c) == 0 {
		return nil, errors.New("it names no resources")
	}
	return c, nil
}

func (e entry) list() ([]Key, error) {
	var keys []Key
	for _, p := range e.Providers {
		list, name := p.keys()
		switch {
		case list != nil:
			for _, k := range list.Keys {
				key, err := k.key(name)
				if err != nil {
					return nil, err
				}
				keys = append(keys, key)
			}
		case p.KMS != nil:
			if p.KMS.APIVersion != "v2" {
				return nil, fmt.Errorf("KMS plugin %q has apiVersion %q: use v2", p.KMS.Name, p.KMS.APIVersion)
			}
			timeout, err := time.ParseDuration(p.KMS.Timeout)
			if p.KMS.Timeout == "" {
				timeout, err = cluster.DefaultKMSTimeout, nil
			}
			if err != nil || timeout <= 0 {
				return nil, fmt.Errorf("KMS plugin %q has timeout %q: write one such as 3s", p.KMS.Name, p.KMS.Timeout)
			}
			keys = append(keys, Key{Provider: cluster.EncryptionKMS, Name: p.KMS.Name, Endpoint: p.KMS.Endpoint, Timeout: timeout})
		case p.Identity != nil:
			keys = append(keys, Plain())
		default:
			return nil, errors.New("a provider is none of secretbox, aescbc, aesgcm, kms and identity")
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("there is no provider for %s", strings.Join(e.Resources, ", "))
	}
	return keys, nil
}

func (k keyEntry) key(p cluster.EncryptionProvider) (Key, error) {
	secret, err := base64.StdEncoding.DecodeString(k.Secret)
	if err != nil {
		return Key{}, fmt.Errorf("the secret of key %q is not base64", k.Name)
	}
	sizes := []int{16, 24, 32}
	if p == cluster.EncryptionSecretbox {
		sizes = []int{32}
	}
	switch {
	case k.Name == "" || strings.Contains(k.Name, ":"):
		return Key{}, fmt.Errorf("%q is not a key's name", k.Name)
	case !slices.Contains(sizes, len(secret)):
		return Key{}, fmt.Errorf("key %q has %d bytes, which %s does not take", k.Name, len(secret), p)
	}
	return Key{Provider: p, Name: k.Name, Secret: secret}, nil
}
