package kltest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestArguments(t *testing.T) {
	a := &API{Name: "test-x", Kubeconfig: "/k"}
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"zero", Options{}, "up --name test-x --kubeconfig /k --nodes 0 --ephemeral"},
		{
			"all", Options{Nodes: 2, Simulated: 9, Durable: true, Timeout: time.Minute},
			"up --name test-x --kubeconfig /k --nodes 2 --simulated 9 --timeout 1m0s",
		},
		{
			"file", Options{Config: "kl.yaml"}, // kl refuses --nodes with a file
			"up --name test-x --kubeconfig /k --file kl.yaml --ephemeral",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, strings.Join(tt.o.arguments(a), " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWithoutKl(t *testing.T) {
	t.Setenv("KL_BINARY", "/does/not/exist/kl")
	_, err := Start(t.Context(), Options{})
	if err == nil || !strings.Contains(err.Error(), "$KL_BINARY") {
		t.Errorf("Start gives %v, want a word on where kl is looked for", err)
	}
}

// TestAFailureIsExplainedAndLeavesNothing runs a program that fails in the place of kl.
func TestAFailureIsExplainedAndLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	_, err := Start(t.Context(), Options{Binary: "false"})
	if err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("Start gives %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// fakeKl is a program that writes the kubeconfig as kl does, and records how it was called.
const fakeKl = `#!/bin/sh
echo "$@" >>"$CALLS"
[ "$1" = up ] || exit 0
[ "$KUBECONFIG" = "$5" ] || exit 9
cat >"$5" <<END
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
END
`

func TestStartAndStop(t *testing.T) {
	dir := t.TempDir()
	binary, calls := filepath.Join(dir, "kl"), filepath.Join(dir, "calls")
	if err := os.WriteFile(binary, []byte(fakeKl), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CALLS", calls)
	t.Setenv("KL_BINARY", binary)
	api, err := Start(t.Context(), Options{Simulated: 3})
	if err != nil {
		t.Fatal(err)
	}
	if api.Config.Host != "https://127.0.0.1:1" || api.Config.QPS >= 0 {
		t.Errorf("host %s, %v queries a second", api.Config.Host, api.Config.QPS)
	}
	if err := api.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := os.Stat(api.Kubeconfig); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the kubeconfig after Stop: %v", err)
	}
	have, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	want := "up --name " + api.Name + " --kubeconfig " + api.Kubeconfig + " --nodes 0 --simulated 3 --ephemeral\ndown --name " + api.Name + "\n"
	if diff := cmp.Diff(want, string(have)); diff != "" {
		t.Errorf("calls of kl (-want +got):\n%s", diff)
	}
}

// TestStartWithoutAKubeconfig runs a kl that says it has started and has not: it must be stopped.
func TestStartWithoutAKubeconfig(t *testing.T) {
	dir := t.TempDir()
	binary, calls := filepath.Join(dir, "kl"), filepath.Join(dir, "calls")
	if err := os.WriteFile(binary, []byte("#!/bin/sh\necho $1 >>$CALLS\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CALLS", calls)
	if _, err := Start(t.Context(), Options{Binary: binary}); err == nil || !strings.Contains(err.Error(), "kubeconfig") {
		t.Errorf("Start gives %v", err)
	}
	if have, err := os.ReadFile(calls); err != nil || string(have) != "up\ndown\n" {
		t.Errorf("calls of kl: %q, %v", have, err)
	}
}
