package host_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
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
	if err := os.WriteFile(b.kubeconfig+".lock", nil, 0); err != nil { // as clientcmd does
		t.Fatal(err)
	}
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

// A kubeconfig that cannot be merged into, or no longer, keeps no cluster from coming up or going: the file is named at once.
func TestKubeconfigThatCannotBeWritten(t *testing.T) {
	b := newBench(t)
	if err := syscall.Mkfifo(b.kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	r := b.mustUp(t, request(0))
	const want = ": is a named pipe, not a regular file; it gets no context"
	if r.Kubeconfig != "" || len(b.warnings(want)) != 1 || !strings.Contains(b.warnings(want)[0], b.kubeconfig) {
		t.Errorf("kubeconfig is %q, warnings %q", r.Kubeconfig, b.warnings(""))
	}
	if _, err := b.Down(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(b.kubeconfig); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe has become %v (%v)", info, err)
	}

	// A file that was asked for is an error before anything is made.
	_, err := b.Up(t.Context(), request(0), host.UpOptions{Kubeconfig: b.kubeconfig})
	if err == nil || !strings.Contains(err.Error(), b.kubeconfig+": is a named pipe") {
		t.Errorf("Up returned %v", err)
	}
	if err := os.Remove(b.kubeconfig); err != nil { // checkGone reads it
		t.Fatal(err)
	}
	b.checkGone(t)

	b.mustUp(t, request(0))
	write(t, b.kubeconfig, "broken: [")
	if _, err := b.Down(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	if got := b.warnings("entries of cluster demo may be left in that file"); len(got) != 1 || !strings.Contains(got[0], b.kubeconfig) {
		t.Errorf("warnings are %q", got)
	}
	b.checkGone(t)
}

// warnings returns the warnings that contain text.
func (b *bench) warnings(text string) (found []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.State == cluster.StepWarning && strings.Contains(e.Message, text) {
			found = append(found, e.Message)
		}
	}
	return found
}

// Only the up that makes a cluster switches the current context.
func TestCurrentContext(t *testing.T) {
	b := newBench(t)
	write(t, b.kubeconfig, readForeign(t))
	b.mustUp(t, request(0))
	checkKept(t, b.kubeconfig, []string{"current-context: kl-demo"})
	write(t, b.kubeconfig, strings.NewReplacer("current-context: kl-demo", "current-context: prod").Replace(read(t, b.kubeconfig)))
	b.mustUp(t, request(-1))
	if err := b.Stop(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Start(t.Context(), "demo", host.UpOptions{}); err != nil {
		t.Fatal(err)
	}
	checkKept(t, b.kubeconfig, []string{"current-context: prod"})
	if _, name, err := b.MergeKubeconfig(t.Context(), "demo"); err != nil || name != "kl-demo" {
		t.Errorf("context %s, %v", name, err)
	}
	checkKept(t, b.kubeconfig, []string{"current-context: kl-demo"})
}
