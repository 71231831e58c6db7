package config

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/klkube/kl/cluster"
)

// coreResources are the resources without a group whose objects are stored.
func coreResources() []string {
	return []string{
		"configmaps", "endpoints", "events", "limitranges", "namespaces", "nodes", "persistentvolumeclaims", "persistentvolumes", "pods",
		"podtemplates", "replicationcontrollers", "resourcequotas", "secrets", "serviceaccounts", "services",
	}
}

// Encrypted returns how a cluster is encrypted once want is applied to it: what want leaves out stays.
func Encrypted(have, want cluster.Encryption) cluster.Encryption {
	want.Provider = cmp.Or(want.Provider, have.Provider)
	if len(want.Resources) == 0 {
		want.Resources = have.Resources
	}
	if want.Provider == cluster.EncryptionKMS && want.KMS == (cluster.KMS{}) {
		want.KMS = have.KMS
	}
	if want.Provider != cluster.EncryptionKMS {
		want.KMS = cluster.KMS{}
	}
	return want.Default()
}

// CheckEncryption judges an Encryption that did not come from a file, as Parse does. The first problem is returned.
func CheckEncryption(e cluster.Encryption) error {
	v := &validator{w: newWalker("flags")}
	v.encryption(e)
	if ps := v.w.problems; len(ps) > 0 {
		return fmt.Errorf("%s: %s", ps[0].Path, ps[0].Message)
	}
	return nil
}

func (v *validator) encryption(e cluster.Encryption) {
	if e.Provider != "" {
		v.oneOf("encryption.provider", string(e.Provider), words(cluster.EncryptionProviders()))
	}
	for i, r := range e.Resources {
		at := fmt.Sprintf("encryption.resources[%d]", i)
		if slices.Contains(e.Resources[:i], r) {
			v.bad(at, "%q stands twice", r)
			continue
		}
		v.encryptedResource(at, r)
	}
	if e.Provider == cluster.EncryptionKMS {
		v.kms(e.KMS)
	} else if e.KMS != (cluster.KMS{}) {
		v.bad("encryption.kms", "only provider kms has a plugin")
	}
}

func (v *validator) encryptedResource(at, r string) {
	resource, group, grouped := strings.Cut(r, ".")
	switch {
	case strings.Contains(r, "*"):
		v.bad(at, "%q stands for many resources: name each", r)
	case r != strings.ToLower(r):
		v.bad(at, "%q has capital letters: did you mean %q?", r, strings.ToLower(r))
	case !grouped:
		v.oneOf(at, r, coreResources())
	case group == "events.k8s.io":
		v.bad(at, "%q is stored as events: write events", r)
	case group == "extensions":
		v.bad(at, "group %q is no longer served", group)
	case len(validation.IsDNS1035Label(resource)) > 0 || len(validation.IsDNS1123Subdomain(group)) > 0:
		v.bad(at, "%q is not a resource: write it in the plural with its group, such as widgets.example.com", r)
	}
}

func (v *validator) kms(k cluster.KMS) {
	const name, endpoint, timeout = "encryption.kms.name", "encryption.kms.endpoint", "encryption.kms.timeout"
	if len(validation.IsDNS1123Subdomain(k.Name)) > 0 {
		v.bad(name, "%q is not a plugin's name: use a-z, 0-9, - and .", k.Name)
	}
	socket, unix := strings.CutPrefix(k.Endpoint, "unix://")
	if !unix || !path.IsAbs(socket) {
		v.bad(endpoint, "%q is not a socket: write unix:// and its absolute path", k.Endpoint)
	}
	if k.Timeout != "" {
		if d, err := time.ParseDuration(k.Timeout); err != nil || d <= 0 {
			v.bad(timeout, "%q is not a time: write one such as 3s", k.Timeout)
		}
	}
}
