package cmd

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/klkube/kl/cluster"
)

// writeKubeconfig writes a kubeconfig with contexts of the same name as their cluster; the first is current.
func writeKubeconfig(t *testing.T, file, server string, contexts ...string) {
	t.Helper()
	c := api.NewConfig()
	for _, name := range contexts {
		c.Clusters[name] = &api.Cluster{Server: server + "/" + name}
		c.Contexts[name] = &api.Context{Cluster: name}
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
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			home := cluster.Home(filepath.Join(dir, "kl"))
			for _, name := range tt.clusters {
				writeKubeconfig(t, home.Cluster(name).Kubeconfig(), "https://127.0.0.1", "kl-"+name)
			}
			t.Setenv("KUBECONFIG", filepath.Join(dir, "config"))
			writeKubeconfig(t, filepath.Join(dir, "config"), "https://example.com", tt.contexts...)
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
