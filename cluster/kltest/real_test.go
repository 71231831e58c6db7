//go:build e2e

package kltest

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// clusters are the clusters of a KL_HOME.
func clusters(t *testing.T, home string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(home, "clusters", "test-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// processesOf are those whose arguments name a directory.
func processesOf(t *testing.T, dir string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte(dir)) { // it may have ended
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	return found
}

// TestTheOwnerOfARealClusterEnds is TestTheOwnerEnds with kl: ten seconds after the owner there is no cluster, no process and
// no directory.
func TestTheOwnerOfARealClusterEnds(t *testing.T) {
	home := t.TempDir()
	t.Setenv("KL_HOME", home)
	t.Setenv("TMPDIR", t.TempDir())
	check := func(t *testing.T) {
		t.Helper()
		defer func() {
			if t.Failed() {
				t.Logf("left are %q and %q", clusters(t, home), processesOf(t, home))
			}
		}()
		eventually(t, "nothing is left", func() bool {
			return len(clusters(t, home)) == 0 && len(processesOf(t, home)) == 0 && nothingLeft(t)
		})
	}
	for _, tt := range ownersEnds {
		t.Run(tt.name, func(t *testing.T) {
			runOwner(t, tt.name, tt.signal, func(out *bufio.Reader) {
				started(t)(out)
				if n := len(clusters(t, home)); n != 1 || len(processesOf(t, home)) < 2 {
					t.Errorf("the owner has %d clusters and the processes %q", n, processesOf(t, home))
				}
			})
			check(t)
		})
	}
	t.Run("while it starts", func(t *testing.T) {
		runOwner(t, "kill", syscall.SIGKILL, func(*bufio.Reader) {
			eventually(t, "the cluster has a control plane", func() bool { return len(processesOf(t, filepath.Join(home, "clusters"))) > 0 })
		})
		check(t)
	})
}

// TestConfig starts what a kl.yaml says.
func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kl.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: kl.dev/v1alpha1\nkind: Cluster\nnodes:\n- {count: 2, simulated: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	api, err := Start(t.Context(), Options{Config: file})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := api.Stop(); err != nil {
			t.Error(err)
		}
	}()
	nodes, err := kubernetes.NewForConfigOrDie(api.Config).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 2 {
		t.Errorf("the cluster has %d nodes, %v", len(nodes.Items), err)
	}
}
