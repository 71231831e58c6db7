//go:build e2e

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// script is the run of one script.
type script struct {
	h      *harness
	t      *testing.T
	home   string
	shared bool

	listeners listeners
	screen    *screen
}

type scriptKey struct{}

func scriptOf(ts *testscript.TestScript) *script { return ts.Value(scriptKey{}).(*script) }

// cleanUp removes everything the script created, whether it passed or not.
func (s *script) cleanUp(env []string) {
	if s.t.Failed() {
		showLogs(s.t, s.home)
	}
	if s.shared {
		if s.t.Failed() { // the next script starts with a new cluster
			showLogs(s.t, s.h.shared.home)
			s.h.discardShared()
		}
	}
	s.h.removeClusters(s.t, s.home, env)
	for _, v := range env {
		if name, ok := strings.CutPrefix(v, "CLUSTER="); ok && !s.shared {
			removeLeftovers(s.t, name)
		}
	}
}

// removeLeftovers removes containers and networks that kl down should have removed, and fails the test if there are any.
func removeLeftovers(t testing.TB, cluster string) {
	for _, kind := range []struct{ list, remove []string }{
		{[]string{"ps", "-aq"}, []string{"rm", "-fv"}},
		{[]string{"network", "ls", "-q"}, []string{"network", "rm"}},
	} {
		ids := output("docker", append(kind.list, "--filter", "name="+cluster)...)
		if ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" }); len(ids) > 0 {
			t.Errorf("clean up: left behind: docker %v: %v", kind.list, ids)
			output("docker", append(kind.remove, ids...)...)
		}
	}
}

// removeClusters takes down all clusters of a KL_HOME and then removes it.
func (h *harness) removeClusters(t testing.TB, home string, env []string) {
	h.takeDown(t, home, env)
	if err := removeTree(home); err != nil {
		t.Errorf("clean up: %v", err)
	}
}

// takeDown takes down all clusters of a KL_HOME and leaves no process of it.
func (h *harness) takeDown(t testing.TB, home string, env []string) {
	names, _ := filepath.Glob(filepath.Join(home, "clusters", "*"))
	for _, path := range names {
		cmd := exec.Command(filepath.Join(h.bin, "kl"), "down", "--name", filepath.Base(path))
		cmd.Env = append(append(os.Environ(), env...), "KL_HOME="+home)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("clean up: kl down: %v\n%s", err, text)
		}
	}
	killProcessesOf(t, home)
}

// killProcessesOf kills the processes on this machine that were started with a KL_HOME.
func killProcessesOf(t testing.TB, home string) {
	for _, p := range processesOf(home) {
		t.Logf("clean up: kill %s", p)
		pid, err := strconv.Atoi(strings.Fields(p)[0])
		if err == nil {
			if proc, err := os.FindProcess(pid); err == nil {
				_ = proc.Kill()
			}
		}
	}
}

// showLogs logs the last lines of all log files in a KL_HOME.
func showLogs(t testing.TB, home string) {
	for _, pattern := range []string{"clusters/*/logs/*.log", "clusters/*/nodes/*/logs/*.log", "clusters/*/run/failed"} {
		files, _ := filepath.Glob(filepath.Join(home, pattern))
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil || len(text) == 0 {
				continue
			}
			lines := strings.SplitAfter(string(text), "\n")
			lines = lines[max(0, len(lines)-25):]
			t.Logf("== end of %s\n%s", strings.TrimPrefix(path, home+"/"), strings.Join(lines, ""))
		}
	}
}

// sharedCluster is the cluster of scripts that do not need their own.
type sharedCluster struct {
	name  string // empty if there is none
	home  string
	nodes int
	users int // scripts so far
}

// clusterCommand is "cluster NODES": makes the script use the shared cluster, which runs with at least that many nodes and
// the images of testdata/images, and creates a namespace $NS there.
func (h *harness) clusterCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: cluster NODES")
	}
	nodes, err := strconv.Atoi(args[0])
	ts.Check(err)
	s := scriptOf(ts)
	s.shared = true
	if h.shared.name == "" {
		h.shared.home, err = h.newHome()
		ts.Check(err)
		h.shared.name = "e2e-shared-" + strconv.Itoa(os.Getpid()%10000)
	}
	h.shared.users++
	ts.Setenv("KL_HOME", h.shared.home)
	ts.Setenv("CLUSTER", h.shared.name)
	// up is idempotent; for a running cluster it adds missing nodes and merges the context into this script's kubeconfig.
	h.shared.nodes = max(nodes, h.shared.nodes)
	ts.Check(ts.Exec("kl", "up", "--name", h.shared.name, "--nodes", strconv.Itoa(h.shared.nodes)))
	h.imagesCommand(ts, false, nil)
	images := ts.Getenv("IMAGES")
	ts.Check(ts.Exec("kl", "image", "load", "--name", h.shared.name, filepath.Join(images, "busybox.tar"), filepath.Join(images, "app.tar")))
	ns := fmt.Sprintf("s%d", h.shared.users)
	ts.Setenv("NS", ns)
	ts.Check(ts.Exec("k", "create", "namespace", ns))
	eventually(ts, false, []string{"10s", "k", "get", "serviceaccount", "default"})
	ts.Defer(func() {
		if !s.t.Failed() {
			_ = ts.Exec("k", "delete", "namespace", ns, "--wait=false")
		}
	})
}

func (h *harness) discardShared() {
	if h.shared.name != "" {
		h.removeClusters(h.t, h.shared.home, nil)
		removeLeftovers(h.t, h.shared.name)
	}
	h.shared = sharedCluster{users: h.shared.users}
}

// processesOf lists the processes that were started with a KL_HOME, as "PID COMMAND LINE". Shims of pods are not among
// them; they end with their node.
func processesOf(home string) []string {
	var found []string
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range entries {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if len(cmdline) == 0 { // a zombie or a kernel thread
			continue
		}
		if bytes.Contains(env, []byte("KL_HOME="+home+"\x00")) || bytes.Contains(cmdline, []byte(home+"/")) {
			text := strings.TrimSpace(strings.ReplaceAll(string(cmdline), "\x00", " "))
			found = append(found, filepath.Base(dir)+" "+text)
		}
	}
	slices.Sort(found)
	return found
}
