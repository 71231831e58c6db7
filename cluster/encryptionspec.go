package cluster

import (
	"cmp"
	"slices"
	"time"
)

// EncryptionProvider is what encrypts objects before they are stored in etcd.
type EncryptionProvider string

// The providers, as Kubernetes names them.
const (
	EncryptionSecretbox EncryptionProvider = "secretbox" // XSalsa20 and Poly1305
	EncryptionAESCBC    EncryptionProvider = "aescbc"
	EncryptionAESGCM    EncryptionProvider = "aesgcm" // its key must be rotated before 200,000 writes
	EncryptionKMS       EncryptionProvider = "kms"    // a plugin that speaks KMS v2 keeps the key
	EncryptionNone      EncryptionProvider = "none"   // objects are stored as they are
)

// EncryptionProviders are all providers, in the order in which messages list them.
func EncryptionProviders() []EncryptionProvider {
	return []EncryptionProvider{EncryptionSecretbox, EncryptionAESCBC, EncryptionAESGCM, EncryptionKMS, EncryptionNone}
}

// Encryption says which objects are encrypted in etcd, and how. The zero value leaves a cluster as it is; a new one gets
// [Encryption.Default].
type Encryption struct {
	Provider  EncryptionProvider `json:"provider,omitempty"`
	Resources []string           `json:"resources,omitempty"` // secrets by default; those of groups are like widgets.example.com
	KMS       KMS                `json:"kms,omitzero"`        // for provider kms
}

// KMS is a plugin that encrypts and decrypts keys (Kubernetes' KMS v2). It must run whenever the control plane does.
type KMS struct {
	Name     string `json:"name,omitempty"`     // stored with every object: it stays
	Endpoint string `json:"endpoint,omitempty"` // unix:///path/of/socket
	Timeout  string `json:"timeout,omitempty"`  // of a call, such as 3s, the default
}

// DefaultKMSTimeout is how long a call of a KMS plugin may take, if nothing else is said.
const DefaultKMSTimeout = 3 * time.Second

// Default fills in what is zero.
func (e Encryption) Default() Encryption {
	e.Provider = cmp.Or(e.Provider, EncryptionSecretbox)
	if len(e.Resources) == 0 {
		e.Resources = []string{"secrets"}
	}
	e.Resources = slices.Sorted(slices.Values(e.Resources))
	if e.Provider == EncryptionKMS {
		e.KMS.Timeout = cmp.Or(e.KMS.Timeout, DefaultKMSTimeout.String())
	}
	return e
}

// Enabled reports whether anything is encrypted.
func (e Encryption) Enabled() bool { return e.Provider != "" && e.Provider != EncryptionNone }
