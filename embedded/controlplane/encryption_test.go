package controlplane

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"k8s.io/kubernetes/pkg/kubeapiserver"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/encryption"
	"github.com/klkube/kl/cluster/statefile"
	"github.com/klkube/kl/embedded/controlplane/atrest"
)

// TestEtcdPrefixes: what is counted is where the API server stores it.
func TestEtcdPrefixes(t *testing.T) {
	for resource, prefix := range kubeapiserver.SpecialDefaultResourcePrefixes {
		if resource.Group == "extensions" { // served no more
			continue
		}
		if got, want := atrest.Prefix(resource.String()), "/registry/"+prefix+"/"; got != want {
			t.Errorf("%s: %s, want %s", resource, got, want)
		}
	}
}

// TestEnsureEncryption: a cluster without a configuration gets one that encrypts nothing, unless it was encrypted.
func TestEnsureEncryption(t *testing.T) {
	l := cluster.Home(t.TempDir()).Cluster("dev")
	if err := statefile.MkdirAll(l.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	encrypted := cluster.Spec{Encryption: cluster.Encryption{}.Default()}
	if err := ensureEncryption(l, encrypted); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), l.EncryptionConfig()) {
		t.Errorf("encrypted, without its keys: %v", err)
	}
	if err := ensureEncryption(l, cluster.Spec{}); err != nil {
		t.Fatal(err)
	}
	c, before, err := encryption.Read(l)
	if err != nil || len(c.Keys()) != 0 || c.Writes("secrets").Provider != cluster.EncryptionNone {
		t.Fatalf("%v, %v", c, err)
	}
	if err := ensureEncryption(l, encrypted); err != nil { // there is one
		t.Error(err)
	}
	if _, after, err := encryption.Read(l); err != nil || after != before {
		t.Errorf("the configuration was replaced: %v", err)
	}
}
