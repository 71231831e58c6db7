package kubeconfig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/kubeconfig"
	"github.com/klkube/kl/cluster/pki"
)

// readForeign returns another tool's kubeconfig: formatted as kubectl formats it, with a comment and fields that kl does
// not know.
func readForeign(t *testing.T) string {
	t.Helper()
	return read(t, "../../testdata/kubeconfig/foreign.yaml")
}

// newCluster returns a cluster that has what a kubeconfig is made of.
func newCluster(t *testing.T) cluster.Layout {
	t.Helper()
	l := cluster.Home(t.TempDir()).Cluster("demo")
	spec := cluster.DefaultSpec()
	spec.Name, spec.Kubernetes.APIServerPort = "demo", 20443
	if err := pki.Ensure(l, spec.Networking, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.WriteSpec(l, spec); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestMergeAndForget(t *testing.T) {
	foreign := readForeign(t)
	const empty = "kind: Config\napiVersion: v1\nclusters: []\ncontexts: null\n"
	tests := []struct {
		name   string
		before string // empty means there is no file
		kept   []string
	}{
		{name: "no file"},
		{name: "an empty file", before: "\n"},
		{name: "an empty kubeconfig", before: empty},
		{name: "a kubeconfig with comments", before: foreign, kept: []string{"# do not touch", "tool: other", "namespace: web", "command: get-token"}},
		{name: "JSON", before: `{"apiVersion":"v1","kind":"Config","clusters":[{"name":"j","cluster":{"server":"https://j"}}]}`, kept: []string{"https://j"}},
		{
			name: "an older entry of the same name", kept: []string{"https://prod.example:6443"},
			before: strings.Replace(foreign, "contexts:\n", "contexts:\n- context:\n    cluster: gone\n    user: gone\n  name: kl-demo\n", 1),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, path := newCluster(t), filepath.Join(t.TempDir(), "config")
			if tt.before != "" {
				write(t, path, tt.before)
			}
			if _, err := kubeconfig.Merge(t.Context(), l, path, true); err != nil {
				t.Fatal(err)
			}
			config := parseConfig(t, read(t, path))
			if config.CurrentContext != "kl-demo" {
				t.Errorf("current context is %q", config.CurrentContext)
			}
			rest, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
			if err != nil {
				t.Fatal(err)
			}
			if rest.Host != kubeconfig.ServerURL(20443) || len(rest.CAData) == 0 || len(rest.KeyData) == 0 {
				t.Errorf("server is %s", rest.Host)
			}
			checkKept(t, path, tt.kept)
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode is %v, %v", info.Mode(), err)
			}
			if left := kubeconfig.Forget(t.Context(), l, nil); left != nil {
				t.Fatal(left)
			}
			after := read(t, path)
			if strings.Contains(after, "kl-demo") {
				t.Errorf("entries are left:\n%s", after)
			}
			checkKept(t, path, tt.kept)
			if tt.before == foreign {
				want := strings.Replace(foreign, "current-context: prod", `current-context: ""`, 1)
				if diff := cmp.Diff(parseConfig(t, want), parseConfig(t, after)); diff != "" {
					t.Error(diff)
				}
			}
			if left, _ := filepath.Glob(path + "*"); len(left) != 1 {
				t.Errorf("files are %q", left)
			}
		})
	}
}

// What kubectl refuses to read stays as it is, byte for byte.
func TestMergeLeavesOtherFilesAlone(t *testing.T) {
	foreign := readForeign(t)
	for name, text := range map[string]string{
		"clusters is a mapping": "apiVersion: v1\nkind: Config\nclusters: {}\n",
		"clusters is a string":  "apiVersion: v1\nkind: Config\nclusters: hello\n",
		"a user is a string":    "apiVersion: v1\nkind: Config\nusers: [a-string]\n",
		"another kind":          "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n",
		"duplicate keys":        "apiVersion: v1\nkind: Config\nkind: Config\n",
		"two documents":         foreign + "---\n" + foreign,
		"not YAML":              "\t{",
	} {
		t.Run(name, func(t *testing.T) {
			l, path := newCluster(t), filepath.Join(t.TempDir(), "config")
			write(t, path, text)
			if _, err := kubeconfig.Merge(t.Context(), l, path, true); err == nil {
				t.Error("merged without an error")
			}
			if after := read(t, path); after != text {
				t.Errorf("the file was changed:\n%s", after)
			}
		})
	}
}

// A user who has switched to another context keeps it when the cluster goes.
func TestForgetKeepsAnotherCurrentContext(t *testing.T) {
	foreign := readForeign(t)
	l, path := newCluster(t), filepath.Join(t.TempDir(), "config")
	write(t, path, foreign)
	if _, err := kubeconfig.Merge(t.Context(), l, path, true); err != nil {
		t.Fatal(err)
	}
	write(t, path, strings.Replace(read(t, path), "current-context: kl-demo", "current-context: prod", 1))
	if left := kubeconfig.Forget(t.Context(), l, nil); left != nil {
		t.Fatal(left)
	}
	checkKept(t, path, []string{"current-context: prod"})
}

func parseConfig(t *testing.T, text string) *clientcmdapi.Config {
	t.Helper()
	config, err := clientcmd.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func checkKept(t *testing.T, path string, kept []string) {
	t.Helper()
	text := read(t, path)
	for _, want := range kept {
		if !strings.Contains(text, want) {
			t.Errorf("%q is lost from:\n%s", want, text)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
