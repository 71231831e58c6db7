package cmd

import (
	"cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/klkube/kl/cluster"
)

// writeKubeconfig writes a kubeconfig with contexts of the same name as their cluster; the first is current. A context of the
// form USER@CLUSTER has a user with a token.
func writeKubeconfig(t *testing.T, file, server string, contexts ...string) {
	t.Helper()
	c := api.NewConfig()
	for _, name := range contexts {
		user, at, found := strings.Cut(name, "@")
		if !found {
			user, at = "", name
		}
		c.Clusters[at] = &api.Cluster{Server: server + "/" + at}
		c.Contexts[name] = &api.Context{Cluster: at, AuthInfo: user}
		if user != "" {
			c.AuthInfos[user] = &api.AuthInfo{Token: user}
		}
	}
	if len(contexts) > 0 {
		c.CurrentContext = contexts[0]
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := clientcmd.WriteToFile(*c, file); err != nil {
		t.Fatal(err)
	}
}

func TestTarget(t *testing.T) {
	const none = "find cluster: there is no cluster kl"
	for _, tt := range []struct {
		name       string
		clusters   []string // of kl
		contexts   []string // of the user's kubeconfig
		server     string   // of these contexts, if not example.com
		flags      targetFlags
		kubeconfig []string // contexts of the file that --kubeconfig names
		named      bool     // --name kl
		want       string   // name of the target, or an error
		isKL       bool
	}{
		{name: "nothing", want: none},
		{name: "the cluster of --name", clusters: []string{"big", "kl"}, contexts: []string{"prod"}, named: true, want: "kl", isKL: true},
		{name: "the default cluster", clusters: []string{"big", "kl"}, contexts: []string{"prod"}, want: "kl", isKL: true},
		{name: "the only cluster", clusters: []string{"big"}, contexts: []string{"prod"}, want: "big", isKL: true},
		{name: "no cluster of --name", clusters: []string{"big"}, contexts: []string{"prod"}, named: true, want: none},
		{name: "the current context", contexts: []string{"prod", "test"}, want: "prod"},
		{name: "two clusters, and none of them is the default", clusters: []string{"a", "b"}, want: none},
		{name: "a context", clusters: []string{"kl"}, contexts: []string{"prod", "test"}, flags: targetFlags{context: "test"}, want: "test"},
		{name: "no such context", contexts: []string{"prod"}, flags: targetFlags{context: "test"}, want: `find context: the kubeconfig has no context "test"`},
		{name: "another kubeconfig", clusters: []string{"kl"}, contexts: []string{"prod"}, kubeconfig: []string{"stage"}, want: "stage"},
		{name: "another kubeconfig's context", contexts: []string{"prod"}, kubeconfig: []string{"stage", "dev"}, flags: targetFlags{context: "dev"}, want: "dev"},
		{name: "another kubeconfig without contexts", contexts: []string{"prod"}, kubeconfig: []string{}, want: "find context: the kubeconfig has no current context"},
		{name: "a kl cluster's own context", clusters: []string{"big", "kl"}, server: "https://127.0.0.1", contexts: []string{"prod", "kl-big"},
			flags: targetFlags{context: "kl-big"}, want: "big", isKL: true},
		{name: "the context of a user of a kl cluster", clusters: []string{"kl"}, server: "https://127.0.0.1", contexts: []string{"kl-kl", "dev@kl-kl"},
			flags: targetFlags{context: "dev@kl-kl"}, want: "dev@kl-kl"},
		{name: "the current context is that of a kl cluster", clusters: []string{"a", "b"}, server: "https://127.0.0.1", contexts: []string{"kl-b"},
			want: "b", isKL: true},
		{name: "a kubeconfig of a kl cluster", clusters: []string{"a", "kl"}, server: "https://127.0.0.1", contexts: []string{"kl-kl", "kl-a"},
			flags: targetFlags{kubeconfig: "config"}, want: "kl", isKL: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			home := cluster.Home(filepath.Join(dir, "kl"))
			for _, name := range tt.clusters {
				writeKubeconfig(t, home.Cluster(name).Kubeconfig(), "https://127.0.0.1", "kl-"+name)
			}
			t.Setenv("KUBECONFIG", filepath.Join(dir, "config"))
			writeKubeconfig(t, filepath.Join(dir, "config"), cmp.Or(tt.server, "https://example.com"), tt.contexts...)
			if tt.flags.kubeconfig != "" {
				tt.flags.kubeconfig = filepath.Join(dir, tt.flags.kubeconfig)
			}
			if tt.kubeconfig != nil {
				tt.flags.kubeconfig = filepath.Join(dir, "other")
				writeKubeconfig(t, tt.flags.kubeconfig, "https://example.org", tt.kubeconfig...)
			}
			got, err := tt.flags.target(newEnv(Env{Home: home}), tt.named)
			name := got.Name
			if err != nil {
				name = err.Error()
			}
			if name != tt.want || (got.Layout != nil) != tt.isKL {
				t.Errorf("target %q (of kl: %v), want %q", name, got.Layout != nil, tt.want)
			}
		})
	}
}
