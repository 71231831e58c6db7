package kubeconfig_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/kubeconfig"
)

// newCluster makes a cluster of which only the files exist that a kubeconfig is made from.
func newCluster(t *testing.T) cluster.Layout {
	t.Helper()
	l := cluster.Home(t.TempDir()).Cluster("demo")
	spec := cluster.DefaultSpec()
	spec.Name = l.Name
	spec.Kubernetes.APIServerPort = 6443
	if err := os.MkdirAll(filepath.Dir(l.PKI("ca.crt")), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.crt", "admin.crt", "admin.key"} {
		write(t, l.PKI(name), "content of "+name)
	}
	if err := cluster.WriteSpec(l, spec); err != nil {
		t.Fatal(err)
	}
	return l
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestWrite(t *testing.T) {
	l := newCluster(t)
	if err := kubeconfig.Write(l, 6443); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(l.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	name := config.CurrentContext
	if server := config.Clusters[name]; name != "kl-demo" || server == nil || server.Server != "https://127.0.0.1:6443" ||
		string(server.CertificateAuthorityData) != "content of ca.crt" {
		t.Errorf("context %q has cluster %+v", name, server)
	}
	if user := config.AuthInfos[name]; user == nil || string(user.ClientCertificateData) != "content of admin.crt" ||
		string(user.ClientKeyData) != "content of admin.key" {
		t.Errorf("context %q has the wrong user", name)
	}
	if err := os.Remove(l.PKI("admin.key")); err != nil {
		t.Fatal(err)
	}
	if err := kubeconfig.Write(l, 6443); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "admin.key") {
		t.Errorf("without a key: %v, want an error that names it", err)
	}
}

// Merging twice is merging once, and Forget leaves what was there before, whether it is told the file or not.
func TestMergeAndForget(t *testing.T) {
	const before = "apiVersion: v1\nkind: Config\nclusters: [] # mine\ncurrent-context: \"\"\n"
	l, path := newCluster(t), filepath.Join(t.TempDir(), "config")
	write(t, path, before)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	var merged [2]string
	for i := range merged {
		if err := kubeconfig.Merge(t.Context(), l, path); err != nil {
			t.Fatal(err)
		}
		merged[i] = read(t, path)
	}
	if merged[0] != merged[1] || strings.Count(merged[0], "name: kl-demo") != 3 {
		t.Errorf("merged once:\n%s\ntwice:\n%s", merged[0], merged[1])
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode is %v, %v; want it as it was", info.Mode(), err)
	}
	for range 2 {
		if err := kubeconfig.Forget(t.Context(), l, []string{filepath.Join(t.TempDir(), "none")}); err != nil {
			t.Fatal(err)
		}
		if after := read(t, path); strings.Contains(after, "kl-demo") || !strings.Contains(after, "# mine") {
			t.Errorf("after Forget:\n%s", after)
		}
	}
}

func TestMergeRefuses(t *testing.T) {
	for name, text := range map[string]string{"a list": "- a\n", "damaged": "clusters: [", "a word": "hello\n"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config")
			write(t, path, text)
			var e *cluster.Error
			if err := kubeconfig.Merge(t.Context(), newCluster(t), path); !errors.As(err, &e) || !strings.Contains(e.Op, path) {
				t.Errorf("merge: %v, want an error that names the file", err)
			}
			if got := read(t, path); got != text {
				t.Errorf("the file is %q now", got)
			}
		})
	}
}

// A lock that nobody gives back ends with the context, says what to remove, and leaves the file alone.
func TestMergeGivesUpOnALock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	write(t, path, "kind: Config\n")
	write(t, path+".lock", "")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var e *cluster.Error
	if err := kubeconfig.Merge(ctx, newCluster(t), path); !errors.As(err, &e) || !strings.Contains(e.Hint, path+".lock") {
		t.Errorf("merge: %v, want a hint at the lock", err)
	}
	if got := read(t, path); got != "kind: Config\n" {
		t.Errorf("the file is %q now", got)
	}
}

func TestTarget(t *testing.T) {
	dir := t.TempDir()
	here, none, last := filepath.Join(dir, "here"), filepath.Join(dir, "none"), filepath.Join(dir, "last")
	write(t, here, "")
	for _, tt := range []struct {
		name  string
		files []string
		want  string
	}{
		{"the first that exists", []string{none, here, last}, here},
		{"none exists", []string{none, last}, last},
		{"no files", nil, ""},
	} {
		if got := kubeconfig.Target(tt.files); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
