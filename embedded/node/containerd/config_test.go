package containerd

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/boot"
)

func TestConfig(t *testing.T) {
	want, err := os.ReadFile("testdata/config.toml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), Config(boot.Facts{RestrictOOMScoreAdj: true}, "/kl/layers", "c.n1")); diff != "" {
		t.Error(diff)
	}
}

func TestMirrorFiles(t *testing.T) {
	got, err := MirrorFiles(map[string][]string{
		"docker.io":         {"http://mirror:5000", "https://other.example/v2"},
		"registry.test:443": {"http://localhost:5000"},
		"*":                 {"http://any:5000"},
	})
	if err != nil {
		t.Fatal(err)
	}
	host := func(url string) string { return "\n[host.\"" + url + "\"]\n  capabilities = [\"pull\", \"resolve\"]\n" }
	want := map[string]string{
		"docker.io/hosts.toml": "server = \"https://registry-1.docker.io\"\n" +
			host("http://mirror:5000") + host("https://other.example/v2"),
		"registry.test:443/hosts.toml": "server = \"https://registry.test:443\"\n" + host("http://localhost:5000"),
		"_default/hosts.toml":          host("http://any:5000"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []map[string][]string{
		{"../etc": {"http://a"}}, {"": {"http://a"}}, {".": {"http://a"}}, {"a b": {"http://a"}},
		{"docker.io": {"mirror:5000"}}, {"docker.io": {"ftp://a"}}, {"docker.io": {""}},
	} {
		if _, err := MirrorFiles(bad); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

func TestWriteConfigRemovesOldMirrors(t *testing.T) {
	root := t.TempDir()
	for _, registry := range []string{"old.test", "new.test"} {
		if err := WriteConfig(root, boot.Facts{}, cluster.NodeConfig{Mirrors: map[string][]string{registry: {"http://mirror:5000"}}}); err != nil {
			t.Fatal(err)
		}
	}
	matches, err := filepath.Glob(filepath.Join(root, CertsDir, "*", "hosts.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Join(root, CertsDir, "new.test", "hosts.toml")}, matches); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(filepath.Join(root, ConfigFile)); err != nil {
		t.Error(err)
	}
}
