//go:build linux

package native

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
)

// createCommand makes the test binary create one node: a process for tests to kill.
const createCommand = "create-node"

type createRequest struct {
	Home string
	Spec cluster.NodeSpec
}

func createAndReport(request string) int {
	var r createRequest
	if err := json.Unmarshal([]byte(request), &r); err != nil {
		fmt.Println(err)
		return 1
	}
	ctx := context.Background()
	d, err := New(ctx, Options{Home: r.Home})
	if err == nil {
		fmt.Println("begin")
		_, err = d.Create(ctx, r.Spec)
	}
	fmt.Println("end", err)
	return 0
}

// TestCreateKilled kills a process during Create, later and later until Create has finished. Each time List must return what
// there is, a node or none, and Delete must remove it, with nothing left.
func TestCreateKilled(t *testing.T) {
	machine(t)
	home := t.TempDir()
	d := connect(t, home)
	s := spec(t, d, "n1")
	request, err := json.Marshal(createRequest{home, s})
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]int{}
	for after := time.Duration(0); ; after = after*4/3 + time.Millisecond {
		ended := killAfter(t, string(request), after)
		nodes, err := d.List(t.Context(), "c")
		if err != nil {
			t.Fatalf("killed after %v: list: %v", after, err)
		}
		found[len(nodes)]++
		for _, n := range nodes {
			if err := d.Delete(t.Context(), n); err != nil {
				t.Fatalf("killed after %v: delete: %v", after, err)
			}
		}
		if err := d.DeleteCluster(t.Context(), "c"); err != nil {
			t.Fatalf("killed after %v: delete cluster: %v", after, err)
		}
		left := ""
		limited, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		err = wait.PollUntilContextCancel(limited, pollInterval, true, func(context.Context) (bool, error) { // a supervisor that had just started finds no node and ends
			left = residue(t, d, "c")
			return left == "", nil
		})
		cancel()
		if err != nil {
			t.Fatalf("killed after %v, left on this machine:\n%s", after, left)
		}
		if ended {
			break
		}
	}
	t.Logf("found no node %d times, one %d times", found[0], found[1])
}

// killAfter runs Create in a process and kills the process after a while. ended is true if Create had finished by then.
func killAfter(t *testing.T, request string, after time.Duration) (ended bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", createCommand, request)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "begin" {
		t.Fatalf("create says %q, %v", lines.Text(), lines.Err())
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	for lines.Scan() {
		ended = lines.Text() == "end <nil>"
		if !ended {
			t.Errorf("create: %s", lines.Text())
		}
	}
	_ = cmd.Wait()
	return ended
}

// TestSupervisorKilled checks that a node outlives its supervisor, and can then be stopped, started and deleted.
func TestSupervisorKilled(t *testing.T) {
	machine(t)
	d := connect(t, t.TempDir())
	n := create(t, d, spec(t, d, "n1"))
	killSupervisor(t, d, "n1")
	if nodes, err := d.List(t.Context(), "c"); err != nil || len(nodes) != 1 || nodes[0].State != cluster.NodeRunning {
		t.Fatalf("nodes %v, error %v", nodes, err)
	}
	if err := d.Stop(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	killSupervisor(t, d, "n1")
}

// TestMend checks that a new supervisor takes over a node that runs, publishes its ports, and restarts it when it ends.
func TestMend(t *testing.T) {
	machine(t)
	d := connect(t, t.TempDir())
	n := create(t, d, spec(t, d, "n1"))
	b := d.bundle("c", "n1")
	_, before, err := b.inspect()
	if err != nil {
		t.Fatal(err)
	}
	problem := func() string {
		nodes, err := d.List(t.Context(), "c")
		if err != nil || len(nodes) != 1 {
			t.Fatalf("nodes %v, error %v", nodes, err)
		}
		return nodes[0].Problem
	}
	killSupervisor(t, d, "n1")
	if p := problem(); !strings.Contains(p, "supervisor was killed") {
		t.Errorf("problem of a node without supervisor is %q", p)
	}
	for range 2 { // the second time there is nothing to do
		if err := d.Mend(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
		_, now, err := b.inspect()
		if p := problem(); err != nil || now.PID != before.PID || p != "" || b.orphaned() {
			t.Fatalf("init is %d, was %d, problem %q, error %v", now.PID, before.PID, p, err)
		}
	}
	process, err := os.FindProcess(before.PID)
	if err == nil {
		err = process.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	running := func(context.Context) (bool, error) {
		_, now, err := b.inspect()
		return now.Status == "running" && now.PID != before.PID, err
	}
	if err := wait.PollUntilContextTimeout(t.Context(), pollInterval, time.Minute, true, running); err != nil {
		t.Fatalf("the node was not restarted: %v", err)
	}
	if err := d.Stop(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if err := d.Mend(t.Context(), "c"); err != nil || !isOff(b) {
		t.Errorf("a node that is off is mended: %v", err)
	}
	if err := d.Start(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

// A command that is killed leaves a supervisor that has just been started. The next command's supervisor comes too late, and the
// node runs all the same.
func TestStartBesideAnotherSupervisor(t *testing.T) {
	machine(t)
	d := connect(t, t.TempDir())
	n := create(t, d, spec(t, d, "n1"))
	if err := d.Stop(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "supervisor")
	text := fmt.Sprintf("#!/bin/sh\n%[1]s \"$@\" 3>/dev/null &\nwhile flock -n -s \"$2/supervisor\" true; do sleep 0.01; done\nexec %[1]s \"$@\"\n", d.supervisor)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	d.supervisor = script
	if err := d.Start(t.Context(), n); err != nil {
		t.Fatalf("start: %v", err)
	}
	if nodes, err := d.List(t.Context(), "c"); err != nil || len(nodes) != 1 || nodes[0].State != cluster.NodeRunning {
		t.Errorf("nodes are %+v, %v", nodes, err)
	}
}

func isOff(b bundle) bool {
	_, c, err := b.inspect()
	return err == nil && c.PID == 0
}

func killSupervisor(t *testing.T, d *Driver, node string) {
	t.Helper()
	dir := filepath.Join(d.root, "c", node)
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range list {
		if line, _ := os.ReadFile(p); strings.Contains(string(line), SuperviseCommand+"\x00"+dir) {
			var pid int
			if _, err := fmt.Sscanf(p, "/proc/%d/cmdline", &pid); err != nil {
				t.Fatal(err)
			}
			process, err := os.FindProcess(pid)
			if err == nil {
				err = process.Kill()
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := waitExit(t.Context(), pid); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("no supervisor")
}

// TestNodeComesBack kills the init of a node, which the supervisor must restart.
func TestNodeComesBack(t *testing.T) {
	machine(t)
	d := connect(t, t.TempDir())
	s := spec(t, d, "n1")
	n := create(t, d, s)
	b := d.bundle("c", "n1")
	_, before, err := b.inspect()
	if err != nil {
		t.Fatal(err)
	}
	process, err := os.FindProcess(before.PID)
	if err == nil {
		err = process.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = wait.PollUntilContextCancel(ctx, pollInterval, true, func(context.Context) (bool, error) {
		_, now, err := b.inspect()
		return now.Status == "running" && now.PID != before.PID, err
	})
	if err != nil {
		t.Fatalf("the node was not restarted: %v", err)
	}
	nodes, err := d.List(ctx, "c")
	if err != nil || len(nodes) != 1 || nodes[0].IP != n.IP {
		t.Errorf("nodes %v, error %v", nodes, err)
	}
}

func TestCreateShowsTheLogOfANodeThatEndsAtOnce(t *testing.T) {
	machine(t)
	t.Setenv(startWatchVariable, "1m") // the node ends sooner, but not always within the usual time
	d := connect(t, t.TempDir())
	s := spec(t, d, "n1")
	if err := os.WriteFile(filepath.Join(s.NodeDir, "fail"), []byte("mount /proc: it hurts\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := d.Create(t.Context(), s)
	var explained *cluster.Error
	if !errors.As(err, &explained) {
		t.Fatalf("error is %v, want a cluster.Error", err)
	}
	if log := strings.Join(explained.Log, "\n"); !strings.Contains(log, "first line\nmount /proc: it hurts") {
		t.Errorf("log is %q", log)
	}
	if left := residue(t, d, "c"); left != "" {
		t.Errorf("left on this machine:\n%s", left)
	}
}
