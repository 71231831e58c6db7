package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
)

// startedByRun is this binary as the kl that kl run and its holder start: it notes the call, with the home, in $KL_TEST_CALLS.
func startedByRun(args []string) int {
	home := os.Getenv("KL_HOME")
	f, err := os.OpenFile(cmp.Or(os.Getenv("KL_TEST_CALLS"), os.DevNull), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	_, statErr := os.Stat(cluster.Home(home).Cluster(os.Getenv("KL_CLUSTER")).SpecFile())
	fmt.Fprintf(f, "%s there=%t\n", strings.Join(args, " "), statErr == nil)
	f.Close()
	if args[0] == "logs" {
		if os.Getenv("KL_TEST_EXPORT") != "" {
			fmt.Fprintln(os.Stderr, os.Getenv("KL_TEST_EXPORT"))
			return 1
		}
		return 0
	}
	if os.Getenv("KL_TEST_BUSY") != "" {
		fmt.Fprintln(os.Stderr, "device or resource busy")
		return 1
	}
	fake := clustertest.NewFake() // the nodes are in the test's memory
	return Main(context.Background(), Env{
		Out: os.Stdout, Err: os.Stderr, Home: cluster.Home(home), Payload: clustertest.PlanePayload,
		Drivers: []DriverFactory{{Name: cluster.DriverDocker, Open: func(context.Context, *slog.Logger) (cluster.Driver, error) { return fake, nil }}},
	}, args)
}

// runBench is a machine for kl run.
type runBench struct {
	*machine
	calls string // file
	temp  string
}

func newRunBench(t *testing.T) *runBench {
	t.Helper()
	b := &runBench{machine: newMachine(t), calls: filepath.Join(t.TempDir(), "calls")}
	temp, err := os.MkdirTemp("", "kl") //nolint:usetesting // sockets need a shorter path than t.TempDir gives
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temp) })
	b.temp = temp
	t.Setenv("TMPDIR", temp)
	t.Setenv("KL_TEST_CALLS", b.calls)
	return b
}

// said returns the calls of kl, without the path of artifacts and the generated name.
func (b *runBench) said() string {
	b.t.Helper()
	data, err := os.ReadFile(b.calls)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Fatal(err)
	}
	return string(data)
}

// homes are those that are left.
func (b *runBench) homes() []string {
	b.t.Helper()
	left, err := filepath.Glob(filepath.Join(b.temp, "*"))
	if err != nil {
		b.t.Fatal(err)
	}
	return left
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		code         int
		stdout       string
	}{
		{name: "success", script: "cat; echo done", stdout: "input\ndone\n"},
		{name: "failure", script: "exit 3", code: 3},
		{name: "a signal", script: "kill -TERM $$", code: 128 + 15},
		{name: "background children", script: "sleep 1000 & echo $!", stdout: "PID"},
		{name: "environment", script: "test -e $KUBECONFIG && test -d $KL_HOME/clusters/$KL_CLUSTER && dirname $KUBECONFIG $KL_HOME", stdout: "HOME\n" + "TEMP\n"},
		{name: "kl and kubectl", script: "PATH=$(echo $PATH | sed 's/.*://'); command -v kl; command -v kubectl", stdout: "HOME/bin/kl\nHOME/bin/kubectl\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newRunBench(t)
			seen := ""
			elsewhere := b.env.Elsewhere
			b.env.Elsewhere = func(h cluster.Home) Env { seen = string(h); return elsewhere(h) }
			stdout, stderr, code := b.runWith("input\n", "run", "--nodes", "2", "--", "sh", "-c", tt.script)
			want := strings.NewReplacer("HOME", seen, "TEMP", b.temp).Replace(tt.stdout)
			if pid, err := strconv.Atoi(strings.TrimSpace(stdout)); want == "PID" && err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
				want = stdout
			}
			if code != tt.code || stdout != want {
				t.Errorf("exit code %d, output %q, want %d, %q\n%s", code, stdout, tt.code, want, stderr)
			}
			if !strings.Contains(stderr, "Kubernetes v1.36.3, 2 nodes (docker)") {
				t.Errorf("no progress on standard error:\n%s", stderr)
			}
			if b.said() != "down --all there=true\n" || len(b.homes()) != 0 {
				t.Errorf("calls %q, left %q", b.said(), b.homes())
			}
			if _, err := os.Stat(filepath.Join(b.env.UserHome, ".kube")); err == nil {
				t.Error("the user's kubeconfig was touched")
			}
		})
	}
}

// TestRunNothing checks that a command that cannot be run is found out before anything is made.
func TestRunNothing(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("echo hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		command string
		code    int
		says    string
	}{
		{"no-such-program", 127, `kl: run "no-such-program": there is no such program in $PATH`},
		{script, 126, `kl: run "` + script + `": permission denied`},
		{"", 127, `kl: run "": there is no such program in $PATH`},
		{"../..", 126, `kl: run "../..": is a directory`},
		{"\x1b[31m", 127, `kl: run "\x1b[31m": there is no such program in $PATH`},
		{"two\nlines", 127, `kl: run "two\nlines": there is no such program in $PATH`},
	} {
		b := newRunBench(t)
		b.env.Elsewhere = func(cluster.Home) Env { t.Error("a home was made"); return b.env }
		stdout, stderr, code := b.run("run", "--", tt.command)
		if code != tt.code || stdout != "" || stderr != tt.says+"\n" || b.said() != "" || len(b.homes()) != 0 {
			t.Errorf("%s: exit code %d, %q, calls %q, left %q", tt.command, code, stderr, b.said(), b.homes())
		}
	}
}

// breakPlanes makes control planes of kl run die.
func (b *runBench) breakPlanes() {
	elsewhere := b.env.Elsewhere
	b.env.Elsewhere = func(h cluster.Home) Env {
		clustertest.Plane{Exit: "etcd: database is corrupt"}.Install(b.t, h)
		return elsewhere(h)
	}
}

func TestRunWhenUpFails(t *testing.T) {
	b := newRunBench(t)
	b.breakPlanes()
	_, stderr, code := b.run("run", "--", "touch", filepath.Join(b.temp, "ran"))
	want := "kl: run control plane: etcd: database is corrupt\n    --artifacts DIRECTORY writes all logs there, --keep leaves the cluster\n"
	if code != exitFailed || !strings.Contains(stderr, want) {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if b.said() != "down --all there=false\n" || len(b.homes()) != 0 {
		t.Errorf("calls %q, left %q", b.said(), b.homes())
	}
}

func TestRunArtifacts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		dies  bool
		args  []string
		fail  string // of the export
		code  int
		calls string
		says  string
	}{
		{name: "success", args: []string{"true"}, calls: "down --all there=true\n"},
		{
			name: "failure", args: []string{"false"}, code: 1, says: "Logs and state of cluster one are in DIR/one.\n",
			calls: "logs export DIR/one --name one there=true\ndown --all there=true\n",
		},
		{
			name: "the start", dies: true, args: []string{"true"}, code: 1, says: "    the whole log is in DIR/one\n",
			calls: "logs export DIR/one --name one there=true\ndown --all there=true\n",
		},
		{
			name: "no space", args: []string{"false"}, fail: "no space left", code: 1, says: "write support bundle DIR/one: exit status 1\nno space left\n",
			calls: "logs export DIR/one --name one there=true\ndown --all there=true\n",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newRunBench(t)
			if tt.dies {
				b.breakPlanes()
			}
			t.Setenv("KL_TEST_EXPORT", tt.fail)
			dir := filepath.Join(t.TempDir(), "a", "b")
			named := strings.NewReplacer("DIR", dir)
			_, stderr, code := b.run(append([]string{"run", "--name", "one", "--artifacts", dir, "--"}, tt.args...)...)
			if code != tt.code || !strings.Contains(stderr, named.Replace(tt.says)) {
				t.Errorf("exit code %d, want %d and %q\n%s", code, tt.code, tt.says, stderr)
			}
			if b.said() != named.Replace(tt.calls) || len(b.homes()) != 0 {
				t.Errorf("calls %q, left %q", b.said(), b.homes())
			}
		})
	}
}

func TestRunKeep(t *testing.T) {
	b := newRunBench(t)
	if _, stderr, code := b.run("run", "--keep", "--", "true"); code != exitOK || len(b.homes()) != 0 {
		t.Errorf("success: exit code %d, left %q\n%s", code, b.homes(), stderr)
	}
	if err := os.Remove(b.calls); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := b.run("run", "--keep", "--name", "one", "--", "false")
	if code != 1 || len(b.homes()) != 1 || b.said() != "" {
		t.Fatalf("exit code %d, left %q, calls %q\n%s", code, b.homes(), b.said(), stderr)
	}
	home := b.homes()[0]
	for _, want := range []string{
		"  export KL_HOME=" + home + " KL_CLUSTER=one KUBECONFIG=" + home + "/kubeconfig\n", "  KL_HOME=" + home + " kl down --all && rm -r " + home + "\n",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no %q in\n%s", want, stderr)
		}
	}
	e := b.env
	e.Home = cluster.Home(home)
	b.env = e
	b.must("down", "--all")
}

// TestRunRemovalFails has the failure said, whatever the command did, and leaves what is needed to try again.
func TestRunRemovalFails(t *testing.T) {
	for command, code := range map[string]int{"true": exitFailed, "exit 4": 4} {
		b := newRunBench(t)
		t.Setenv("KL_TEST_BUSY", "yes")
		_, stderr, got := b.run("run", "--nodes", "0", "--name", "one", "--", "sh", "-c", command)
		if len(b.homes()) != 1 {
			t.Fatalf("left %q", b.homes())
		}
		home := b.homes()[0]
		want := "kl: remove cluster one: kl down --all: exit status 1\n    try again with 'KL_HOME=" + home + " kl down --all && rm -r " + home + "'\n  | device or resource busy\n"
		if got != code || !strings.HasSuffix(stderr, want) {
			t.Errorf("%s: exit code %d, want %d and %s in\n%s", command, got, code, want, stderr)
		}
		b.env.Home = cluster.Home(home)
		b.must("down", "--all")
	}
}

func TestClusterFromEnvironment(t *testing.T) {
	m := newMachine(t)
	m.env.Getenv = func(key string) string { return map[string]string{"KL_CLUSTER": "one"}[key] }
	m.must("up", "--nodes", "0")
	m.must("kubectl", "--help-all", "--help")
	if m.ran[1] != "clusters/one/kubeconfig" {
		t.Errorf("kubectl uses %s", m.ran[1])
	}
	if _, stderr, code := m.run("status", "--name", "two"); code != exitFailed || !strings.Contains(stderr, "find cluster two") {
		t.Errorf("--name does not come first: exit code %d, %s", code, stderr)
	}
	m.env.Getenv = func(key string) string { return map[string]string{"KL_CLUSTER": "No_Name"}[key] }
	if _, stderr, code := m.run("status"); code != exitUsage || !strings.Contains(stderr, "No_Name") {
		t.Errorf("an impossible name: exit code %d, %s", code, stderr)
	}
}
