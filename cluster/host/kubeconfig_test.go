package host_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
)

// readForeign returns another tool's kubeconfig: formatted as kubectl formats it, with a comment and fields that kl does
// not know.
func readForeign(t *testing.T) string {
	t.Helper()
	return read(t, "../../testdata/kubeconfig/foreign.yaml")
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

func TestKubeconfigFiles(t *testing.T) {
	foreign := readForeign(t)
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
	foreign := readForeign(t)
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
