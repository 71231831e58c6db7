package host_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/klkube/kl/cluster"
)

// foreign is somebody's kubeconfig: formatted as kubectl formats it, with a comment and fields that kl does not know.
const foreign = `apiVersion: v1
clusters:
- cluster:
    server: https://prod.example:6443
    extensions:
    - name: made-by
      extension:
        tool: other
  name: prod # do not touch
contexts:
- context:
    cluster: prod
    namespace: web
    user: prod
  name: prod
current-context: prod
kind: Config
preferences: {}
users:
- name: prod
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: get-token
      interactiveMode: Never
      provideClusterInfo: false
`

func TestKubeconfig(t *testing.T) {
	const empty = "kind: Config\napiVersion: v1\nclusters: []\ncontexts: null\n"
	tests := []struct {
		name   string
		before string // "" means there is no file
		kept   []string
	}{
		{name: "no file"},
		{name: "an empty file", before: "\n"},
		{name: "an empty kubeconfig", before: empty},
		{name: "somebody's", before: foreign, kept: []string{"# do not touch", "tool: other", "namespace: web", "command: get-token"}},
		{name: "JSON", before: `{"apiVersion":"v1","kind":"Config","clusters":[{"name":"j","cluster":{"server":"https://j"}}]}`, kept: []string{"https://j"}},
		{
			name: "an older entry of the same name", kept: []string{"https://prod.example:6443"},
			before: strings.Replace(foreign, "contexts:\n", "contexts:\n- context:\n    cluster: gone\n    user: gone\n  name: kl-demo\n", 1),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			if tt.before != "" {
				write(t, b.kubeconfig, tt.before)
			}
			b.mustUp(t, request(0))
			config, err := clientcmd.LoadFromFile(b.kubeconfig)
			if err != nil {
				t.Fatal(err)
			}
			if config.CurrentContext != "kl-demo" {
				t.Errorf("current context is %q", config.CurrentContext)
			}
			rest, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
			if err != nil {
				t.Fatal(err)
			}
			spec, err := cluster.ReadSpec(b.Home.Cluster("demo"))
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("https://127.0.0.1:%d", spec.Kubernetes.APIServerPort); rest.Host != want || len(rest.CAData) == 0 || len(rest.KeyData) == 0 {
				t.Errorf("server is %s, want %s", rest.Host, want)
			}
			checkKept(t, b.kubeconfig, tt.kept)
			if info, err := os.Stat(b.kubeconfig); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode is %v, %v", info.Mode(), err)
			}
			if _, err := b.Down(t.Context(), "demo"); err != nil {
				t.Fatal(err)
			}
			after := read(t, b.kubeconfig)
			if strings.Contains(after, "kl-demo") {
				t.Errorf("entries are left:\n%s", after)
			}
			checkKept(t, b.kubeconfig, tt.kept)
			if tt.before == foreign {
				want := strings.Replace(foreign, "current-context: prod", `current-context: ""`, 1)
				if diff := cmp.Diff(parseConfig(t, want), parseConfig(t, after)); diff != "" {
					t.Error(diff)
				}
			}
			if left, _ := filepath.Glob(b.kubeconfig + "*"); len(left) != 1 {
				t.Errorf("files are %q", left)
			}
		})
	}
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

// A user who has moved on to another context keeps it when the cluster goes.
func TestDownKeepsAnotherCurrentContext(t *testing.T) {
	b := newBench(t)
	write(t, b.kubeconfig, foreign)
	b.mustUp(t, request(0))
	write(t, b.kubeconfig, strings.Replace(read(t, b.kubeconfig), "current-context: kl-demo", "current-context: prod", 1))
	if _, err := b.Down(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	checkKept(t, b.kubeconfig, []string{"current-context: prod"})
}

func TestKubeconfigFiles(t *testing.T) {
	b := newBench(t)
	dir := filepath.Dir(b.kubeconfig)
	first, second, link := filepath.Join(dir, "first"), filepath.Join(dir, "second"), filepath.Join(dir, "link")
	write(t, second, foreign)
	if err := os.Symlink(second, link); err != nil {
		t.Fatal(err)
	}
	b.Kubeconfigs = []string{first, link}
	if r := b.mustUp(t, request(0)); r.Kubeconfig != link {
		t.Errorf("merged into %s, kubectl would take the first that exists: %s", r.Kubeconfig, link)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is a link no more")
	}
	checkKept(t, second, []string{"kl-demo", "# do not touch"})

	b.Kubeconfigs = []string{first} // down knows where up went
	if _, err := b.Down(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(read(t, second), "kl-demo") {
		t.Error("entries are left")
	}
}

func TestKubeconfigLock(t *testing.T) {
	b := newBench(t)
	write(t, b.kubeconfig, foreign)
	write(t, b.kubeconfig+".lock", "")
	released := make(chan error, 1)
	b.Events = func(e cluster.Event) {
		if e.Step == cluster.StepKubeconfig && e.State == cluster.StepStarted {
			time.AfterFunc(100*time.Millisecond, func() { // as kubectl, which is quick
				text, err := os.ReadFile(b.kubeconfig)
				if err == nil && string(text) != foreign {
					err = fmt.Errorf("the file was changed under the lock")
				}
				os.Remove(b.kubeconfig + ".lock")
				released <- err
			})
		}
	}
	b.mustUp(t, request(0))
	if err := <-released; err != nil {
		t.Error(err)
	}
	checkKept(t, b.kubeconfig, []string{"kl-demo"})
}
