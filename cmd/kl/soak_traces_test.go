//go:build e2e

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster"
)

// traces counts what the soak's KL_HOME holds on this machine, by a description of each thing.
func (s *soak) traces() map[string]int {
	found := map[string]int{}
	add := func(kind string, lines ...string) {
		for _, line := range lines {
			if line != "" {
				found[kind+" "+line]++
			}
		}
	}
	for _, p := range processesOf(s.home) {
		_, line, _ := strings.Cut(p, " ")
		add("process", line)
	}
	owner := "label=dev.kl.owner=" + cluster.Home(s.home).Owner()
	add("container", output("docker", "ps", "-a", "--filter", owner, "--format", "{{.Names}}")...)
	add("network", output("docker", "network", "ls", "--filter", owner, "--format", "{{.Name}}")...)
	for _, volume := range output("docker", "volume", "ls", "-q", "--filter", owner) {
		if volume != "" { // their names are random
			add("volume", "of docker")
		}
	}
	tables := output("nft", "list", "tables")
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for _, name := range []string{s.name, s.side} {
		id := s.scope(name)
		for line := range strings.Lines(string(mounts)) {
			if strings.Contains(line, s.home+"/") || strings.Contains(line, id) {
				add("mount", strings.Fields(line)[4])
			}
		}
		for _, table := range tables {
			if strings.Contains(table, id) {
				add("nftables", table)
			}
		}
		for _, pattern := range []string{"/sys/fs/cgroup/kl-" + id, "/sys/fs/cgroup/*/kl-" + id, "/run/kl/" + id + "/*", "/sys/class/net/kl-" + id} {
			paths, _ := filepath.Glob(pattern)
			add("path", paths...)
		}
		for _, node := range []string{"n1", "n2", "n3"} {
			sum := sha256.Sum256([]byte(id + "/" + node))
			paths, _ := filepath.Glob("/sys/class/net/klv" + hex.EncodeToString(sum[:6]))
			add("path", paths...)
		}
	}
	for _, pattern := range []string{"*", "locks/*", "clusters/.*", "clusters/*", "clusters/*/*", "clusters/*/run/*", "clusters/*/run/*/*", "clusters/*/nodes/*",
		"clusters/*/nodes/*/*", "embedded/.*", "embedded/*", "embedded/*/*", "embedded/*/*/*"} {
		paths, _ := filepath.Glob(filepath.Join(s.home, pattern))
		for _, p := range paths {
			if !strings.HasPrefix(filepath.Base(p), "audit") { // rotated
				add("file", strings.TrimPrefix(p, s.home))
			}
		}
	}
	return found
}

// scope is what driver embedded names its bridge, table and cgroup of a cluster after.
func (s *soak) scope(name string) string {
	sum := sha256.Sum256([]byte(filepath.Join(string(cluster.Home(s.home).Real()), "embedded", name)))
	return hex.EncodeToString(sum[:4])
}

// checkTraces fails the test unless the cluster holds what it held when it was new, and its nodes only what their pods need.
// What ends by itself has a while to do so.
func (s *soak) checkTraces() {
	s.t.Helper()
	s.eventually("as when the cluster was new", func() error { return difference(s.before, s.traces()) })
	for _, node := range s.nodes {
		s.eventually("nothing left over in "+node, func() error { return s.checkNode(node) })
	}
}

func difference(before, now map[string]int) error {
	var errs []error
	for what, n := range now {
		if n != before[what] {
			errs = append(errs, fmt.Errorf("%d × %s, want %d", n, what, before[what]))
		}
	}
	for what, n := range before {
		if now[what] == 0 {
			errs = append(errs, fmt.Errorf("0 × %s, want %d", what, n))
		}
	}
	return errors.Join(errs...)
}

// checkNode compares what is in a node with the pods that are there.
func (s *soak) checkNode(node string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), execTimeout)
	defer cancel()
	pods, err := s.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, p := range pods.Items {
		known[string(p.UID)] = true
	}
	root := filepath.Join("/proc", strconv.Itoa(s.nodeProcess(node, "init")), "root")
	var errs []error
	dirs, _ := filepath.Glob(root + "/var/lib/kubelet/pods/*")
	for _, dir := range dirs {
		if !known[filepath.Base(dir)] {
			errs = append(errs, fmt.Errorf("the directory of pod %s, which is gone", filepath.Base(dir)))
		}
	}
	addresses, _ := filepath.Glob(root + "/run/cni/addresses/*/[0-9]*.*")
	if len(addresses) != len(pods.Items) {
		errs = append(errs, fmt.Errorf("%d addresses are taken by %d pods", len(addresses), len(pods.Items)))
	}
	for role, want := range map[string]int{"init": 1, "node": 1, "containerd": 1, "shim": len(pods.Items)} {
		if got := len(s.nodeProcesses(node, role)); got != want {
			errs = append(errs, fmt.Errorf("%d processes %s, want %d", got, role, want))
		}
	}
	mounts, err := os.ReadFile(filepath.Join(filepath.Dir(root), "mountinfo"))
	if err != nil {
		return err
	}
	seen := map[string]int{}
	for line := range strings.Lines(string(mounts)) {
		point := strings.Fields(line)[4]
		if seen[point]++; seen[point] == 2 && strings.HasPrefix(point, "/var/lib/kubelet/") {
			errs = append(errs, fmt.Errorf("%s is mounted twice", point))
		}
	}
	return errors.Join(errs...)
}

// checkGone fails the test if anything is left of the clusters.
func (s *soak) checkGone() {
	s.t.Helper()
	left := s.traces()
	for _, file := range []string{"/payload", "/kubeconfig", "/locks", "/clusters", "/embedded", "/machine.lock"} {
		delete(left, "file "+file)
	}
	for what, n := range left {
		s.t.Errorf("after kl down --all: %d × %s", n, what)
	}
	text, err := os.ReadFile(filepath.Join(s.home, "kubeconfig"))
	if err != nil || strings.Contains(string(text), s.name) {
		s.t.Errorf("the kubeconfig: %v\n%s", err, text)
	}
}

// nodeProcess returns the ID of the only process of a node in a role: "init", "node" or "containerd".
func (s *soak) nodeProcess(node, role string) int {
	s.t.Helper()
	var pids []int
	s.eventually(role+" of "+node, func() error {
		if pids = s.nodeProcesses(node, role); len(pids) != 1 {
			return fmt.Errorf("processes %v", pids)
		}
		return nil
	})
	return pids[0]
}

// nodeProcesses finds the processes of a node in a role. Pods have process namespaces of their own.
func (s *soak) nodeProcesses(node, role string) []int {
	space := ""
	all, _ := filepath.Glob("/proc/[0-9]*")
	i := slices.IndexFunc(all, func(proc string) bool { return nodeOf(proc, s.name) == node })
	if i >= 0 {
		space, _ = os.Readlink(filepath.Join(all[i], "ns", "pid"))
	}
	var pids []int
	for _, proc := range all {
		if space == "" {
			break
		}
		if ns, err := os.Readlink(filepath.Join(proc, "ns", "pid")); err != nil || ns != space {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		args := strings.Split(string(line), "\x00")
		is := ""
		switch {
		case strings.HasSuffix(args[0], "kl-init"):
			is = "init"
		case strings.HasSuffix(args[0], "containerd-shim-runc-v2"):
			is = "shim"
		case strings.HasSuffix(args[0], "kl-engine") && len(args) > 1:
			is = args[1]
		}
		if pid, err := strconv.Atoi(filepath.Base(proc)); err == nil && is == role {
			pids = append(pids, pid)
		}
	}
	return pids
}

// kill ends a process with SIGKILL and returns when that was.
func (s *soak) kill(pid int) time.Time {
	s.t.Helper()
	end := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		s.t.Fatalf("kill process %d: %v", pid, err)
	}
	s.awaitDeath(pid)
	return end
}

// awaitDeath waits until a process has ended, reaped or not.
func (s *soak) awaitDeath(pid int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("process %d ends", pid), func() error {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if i := strings.LastIndex(string(stat), ") "); err == nil && i >= 0 && !strings.HasPrefix(string(stat[i+2:]), "Z") {
			return errors.New("it is alive")
		}
		return nil
	})
}
