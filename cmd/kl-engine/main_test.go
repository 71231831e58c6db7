package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// With KL_TEST_MAIN set, the test binary is kl-engine.
func TestMain(m *testing.M) {
	if os.Getenv("KL_TEST_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func engine(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "KL_TEST_MAIN=1", "KUBECONFIG="+filepath.Join(t.TempDir(), "none"))
	return cmd
}

// What packages do before main takes time and memory of every start of every role. kubectl's translations were the most of it.
func TestInitialization(t *testing.T) {
	cmd := engine(t, "version")
	cmd.Env = append(cmd.Env, "GODEBUG=inittrace=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	inits := regexp.MustCompile(`(?m)^init (\S+) @.*, (\d+) bytes, \d+ allocs$`).FindAllStringSubmatch(stderr.String(), -1)
	if len(inits) < 100 {
		t.Fatalf("%d packages are initialized, want hundreds:\n%s", len(inits), stderr.String())
	}
	for _, init := range inits {
		if n, err := strconv.Atoi(init[2]); err != nil || n > 1<<20 {
			t.Errorf("the initialization of %s allocates %s bytes, want at most 1 MiB", init[1], init[2])
		}
	}
}

func TestRoles(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		code int
		out  string // that stdout contains
		err  string // that stderr contains
	}{
		{"no role", nil, 2, "", "the role is missing: one of control-plane, node, containerd, dns, prune-images, losetup, check, tour, version, kubectl\n"},
		{"unknown role", []string{"kubelet"}, 2, "", `unknown role "kubelet": want one of control-plane, `},
		{"version", []string{"version"}, 0, version + "\n", ""},
		{"control plane without a directory", []string{"control-plane"}, 1, "", "kl-engine control-plane: flag --dir is missing\n"},
		{"control plane with a directory that is no cluster's", []string{"control-plane", "--dir", "/tmp"}, 1, "", "/tmp is not a cluster's directory"},
		{"node with an argument", []string{"node", "n1"}, 1, "", `start node: unexpected argument "n1"`},
		{"node outside of a node", []string{"node"}, 1, "", "node.json"},
		{"containerd outside of a node", []string{"containerd"}, 1, "", "node.json"},
		{"containerd's own command", []string{"containerd", "--version"}, 0, "containerd github.com/containerd/containerd", ""},
		{"DNS without a Corefile", []string{"dns", "-conf", "/none"}, 1, "", "read /none"},
		{"images with an argument", []string{"prune-images", "app:1"}, 1, "", `unexpected argument "app:1"`},
		{"list of the tour's programs", []string{"tour", "--help"}, 0, "  serve        answers over HTTP", ""},
		{"program of the tour without a name", []string{"tour"}, 2, "", "kl-engine tour: the program is missing: one of serve, "},
		{"program of the tour with a wrong flag", []string{"tour", "get", "x", "--count", "0"}, 2, "", "kl-engine tour: get: --count is 0"},
		{"program of the tour that fails", []string{"tour", "get", "tcp://127.0.0.1:1"}, 1, "", "kl-engine tour: get: tcp://127.0.0.1:1: refused\n"},
		{"kubectl", []string{"kubectl", "--help"}, 0, "kl kubectl [flags] [options]", ""},
		{"kubectl's exit code", []string{"kubectl", "get"}, 1, "", "You must specify the type of resource"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			cmd := engine(t, tt.args...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Errorf("exit code %d, want %d", got, tt.code)
			}
			if !strings.Contains(stdout.String(), tt.out) || !strings.Contains(stderr.String(), tt.err) {
				t.Errorf("stdout %q and stderr %q, want %q and %q in them", &stdout, &stderr, tt.out, tt.err)
			}
		})
	}
}

// The command's documentation lists the roles that there are.
func TestRolesInDocumentation(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"kubectl"}
	for _, r := range roles(time.Now()) {
		want = append(want, r.name)
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^//\tkl-engine (\S+)`).FindAllStringSubmatch(string(source), -1) {
		got = append(got, m[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the documentation of kl-engine lists the roles %q, want %q", got, want)
	}
}

// A role ends with exit code 0 after SIGTERM.
func TestSignal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	corefile := filepath.Join(t.TempDir(), "Corefile")
	text := fmt.Sprintf(".:%d {\n\tbind 127.0.0.1\n\thosts {\n\t\t192.0.2.1 kl.test\n\t}\n}\n", addr.Port)
	if err := os.WriteFile(corefile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := engine(t, "dns", "-conf", corefile)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(30 * time.Second); ; {
		if conn, err := net.Dial("tcp", addr.String()); err == nil {
			conn.Close()
			break
		}
		select {
		case <-tick.C:
		case err := <-ended:
			t.Fatalf("ended before it served: %v\n%s", err, &stderr)
		case <-limit:
			t.Fatal("does not serve")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("after SIGTERM: %v\n%s", err, &stderr)
		}
	case <-time.After(30 * time.Second):
		t.Error("still runs 30 s after SIGTERM")
	}
}

func TestDropProxies(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		t.Setenv(name, "http://127.0.0.1:9")
	}
	t.Setenv("KL_TEST_PROXY_SERVER", "kept")
	if err := dropProxies(); err != nil {
		t.Fatal(err)
	}
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasSuffix(strings.ToLower(name), "_proxy") {
			t.Errorf("%s is still set", entry)
		}
	}
	if os.Getenv("KL_TEST_PROXY_SERVER") == "" {
		t.Error("a variable that is no proxy is gone")
	}
}
