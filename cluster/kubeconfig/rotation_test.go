package kubeconfig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/kubeconfig"
	"github.com/klkube/kl/cluster/pki"
)

func rotate(t *testing.T, l cluster.Layout, kind cluster.RotationKind) {
	t.Helper()
	now := time.Now()
	if err := pki.Prepare(l, cluster.DefaultSpec().Networking, kind, now); err != nil {
		t.Fatal(err)
	}
	if err := pki.Switch(l, now); err != nil {
		t.Fatal(err)
	}
}

// Entries of the authority that was replaced are the cluster's: they are brought up to date under the names that a person gave them, and
// removed with the cluster, also once the old authority is retired.
func TestRotatedAuthority(t *testing.T) {
	l, dir := newCluster(t), t.TempDir()
	renamed, removed, gone, broken := filepath.Join(dir, "renamed"), filepath.Join(dir, "removed"), filepath.Join(dir, "gone"), filepath.Join(dir, "broken")
	for _, path := range []string{renamed, removed, gone, broken} {
		if _, err := kubeconfig.Merge(t.Context(), l, path, true); err != nil {
			t.Fatal(err)
		}
	}
	write(t, renamed, strings.ReplaceAll(readForeign(t), "prod", "other")+"\n")
	if _, err := kubeconfig.Merge(t.Context(), l, renamed, true); err != nil {
		t.Fatal(err)
	}
	write(t, renamed, strings.ReplaceAll(read(t, renamed), "kl-demo", "mine"))
	write(t, removed, readForeign(t)) // a person has taken the entries out
	write(t, broken, "clusters: [\n")
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	stays := read(t, removed)
	for _, kind := range []cluster.RotationKind{cluster.RotateAuthorities, cluster.RetireAuthorities} {
		rotate(t, l, kind)
		changed, left := kubeconfig.Refresh(t.Context(), l, 20443)
		if changed != 1 || len(left) != 1 || !strings.Contains(left[0].Error(), broken) {
			t.Errorf("%s: %d files changed, %v", kind, changed, left)
		}
		config := parseConfig(t, read(t, renamed))
		if config.CurrentContext != "mine" || string(config.Clusters["mine"].CertificateAuthorityData) != read(t, l.Trust("ca")) ||
			string(config.AuthInfos["mine"].ClientCertificateData) != read(t, l.PKI("admin.crt")) {
			t.Errorf("%s: the entries are out of date", kind)
		}
		if len(config.Clusters) != len(parseConfig(t, stays).Clusters)+1 || read(t, removed) != stays {
			t.Errorf("%s: entries were added", kind)
		}
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("%s: a file that is gone was made again", kind)
		}
		if changed, _ := kubeconfig.Refresh(t.Context(), l, 20443); changed != 0 {
			t.Errorf("%s: once more, %d files changed", kind, changed)
		}
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if left := kubeconfig.Forget(t.Context(), l, nil); len(left) != 0 {
		t.Error(left)
	}
	if strings.Contains(read(t, renamed), "mine") {
		t.Error("the cluster's entries are left")
	}
}

// An entry of the authority that was replaced is not taken for that of a cluster that is gone.
func TestRotatedClusterKeepsItsName(t *testing.T) {
	l, path := newCluster(t), filepath.Join(t.TempDir(), "config")
	if _, err := kubeconfig.Merge(t.Context(), l, path, true); err != nil {
		t.Fatal(err)
	}
	rotate(t, l, cluster.RotateAuthorities)
	other := newCluster(t) // in another home, and of the same name
	if name, err := kubeconfig.Merge(t.Context(), other, path, false); err != nil || name == "kl-demo" {
		t.Errorf("the other cluster's context is %q, %v", name, err)
	}
	if name, err := kubeconfig.Merge(t.Context(), l, path, false); err != nil || name != "kl-demo" {
		t.Errorf("the cluster's context is %q, %v", name, err)
	}
	if config := parseConfig(t, read(t, path)); len(config.Clusters) != 2 || len(config.AuthInfos) != 2 {
		t.Errorf("%d clusters and %d users", len(config.Clusters), len(config.AuthInfos))
	}
}
