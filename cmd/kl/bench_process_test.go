//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// idle is how long CPU use is measured.
const idle = time.Minute

// clockTicks is USER_HZ, the ticks in a second: 100 on every Linux that Go supports.
const clockTicks = 100

// footprint measures memory and idle CPU of a cluster of two nodes.
func (u *user) footprint() [][2]string {
	u.kl("up", "--nodes", "2")
	defer u.kl("down")
	time.Sleep(20 * time.Second) // for work that goes on after the start
	parts := u.processes()
	before := map[string]float64{}
	for name, pids := range parts {
		before[name] = cpuSeconds(pids)
	}
	time.Sleep(idle)
	used := func(name string) string {
		return fmt.Sprintf("%.1f %% of a core", 100*(cpuSeconds(parts[name])-before[name])/idle.Seconds())
	}
	var rows [][2]string
	for _, part := range []struct{ name, label string }{
		{"control plane", "control plane"}, {"n2", "node"}, {"dns", "cluster DNS, a pod"},
	} {
		if len(parts[part.name]) == 0 {
			u.b.Errorf("no processes found of %s", part.name)
		}
		rows = append(rows,
			[2]string{part.label + ", anonymous memory", fmt.Sprintf("%.0f MB", float64(anonymousMemory(parts[part.name]))/1e6)},
			[2]string{part.label + ", idle", used(part.name)})
	}
	return rows
}

// processes finds the IDs of the cluster's processes: those of "control plane" and "dns", and of each node's programs by the
// node's name. Pods have their own process namespaces, so a process in the node's does not belong to a pod.
func (u *user) processes() map[string][]string {
	parts := map[string][]string{}
	dir := filepath.Join(u.home, "clusters", u.cluster)
	pid, err := os.ReadFile(filepath.Join(dir, "run", "control-plane.pid"))
	if err != nil {
		u.b.Fatal(err)
	}
	parts["control plane"] = []string{strings.TrimSpace(string(pid))}
	all, _ := filepath.Glob("/proc/[0-9]*")
	nodes := map[string]string{} // node by process namespace
	for _, proc := range all {
		if name := nodeOf(proc, u.cluster); name != "" {
			if ns, err := os.Readlink(filepath.Join(proc, "ns", "pid")); err == nil {
				nodes[ns] = name
			}
		}
	}
	for _, proc := range all {
		ns, err := os.Readlink(filepath.Join(proc, "ns", "pid"))
		if err != nil {
			continue
		}
		if name := nodes[ns]; name != "" {
			parts[name] = append(parts[name], filepath.Base(proc))
		}
		status, _ := os.ReadFile(filepath.Join(proc, "status"))
		shim, _ := os.Readlink(filepath.Join("/proc", field(string(status), "PPid:", 1), "ns", "pid"))
		cmdline, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		if nodes[shim] != "" && strings.Contains(string(cmdline), "kl-engine\x00dns\x00") && len(parts["dns"]) == 0 {
			parts["dns"] = []string{filepath.Base(proc)}
		}
	}
	return parts
}

// nodeOf returns the name of the node whose first process proc is; empty if it is not the first process of a node of the
// cluster.
func nodeOf(proc, cluster string) string {
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil || field(string(status), "NSpid:", 2) != "1" {
		return ""
	}
	data, err := os.ReadFile(filepath.Join(proc, "root", "kl", "node", "node.json"))
	if err != nil {
		return ""
	}
	var node struct{ Cluster, Name string }
	if json.Unmarshal(data, &node) != nil || node.Cluster != cluster {
		return ""
	}
	return node.Name
}

// field returns the n-th word of the line whose first word is prefix; empty if there is none.
func field(text, prefix string, n int) string {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > n && words[0] == prefix {
			return words[n]
		}
	}
	return ""
}

func anonymousMemory(pids []string) (bytes int64) {
	for _, pid := range pids {
		status, _ := os.ReadFile(filepath.Join("/proc", pid, "status"))
		kb, _ := strconv.ParseInt(field(string(status), "RssAnon:", 1), 10, 64)
		bytes += kb << 10
	}
	return bytes
}

// cpuSeconds is the CPU time that processes have used.
func cpuSeconds(pids []string) (seconds float64) {
	for _, pid := range pids {
		stat, _ := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		_, rest, ok := strings.Cut(string(stat), ") ") // the program's name may contain spaces
		words := strings.Fields(rest)
		if !ok || len(words) < 13 {
			continue
		}
		user, _ := strconv.ParseFloat(words[11], 64)
		system, _ := strconv.ParseFloat(words[12], 64)
		seconds += (user + system) / clockTicks
	}
	return seconds
}

// machine describes this machine in a few words.
func (u *user) machine() string {
	cpu, _ := os.ReadFile("/proc/cpuinfo")
	model := "unknown CPU"
	for line := range strings.Lines(string(cpu)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	mem, _ := os.ReadFile("/proc/meminfo")
	kb, _ := strconv.ParseFloat(field(string(mem), "MemTotal:", 1), 64)
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	text := fmt.Sprintf("%d cores of %s, %.0f GiB, Linux %s", runtime.NumCPU(), model, kb/(1<<20), strings.TrimSpace(string(kernel)))
	if v, err := exec.Command("docker", "info", "--format", "Docker {{.ServerVersion}} ({{.Driver}}, cgroup v{{.CgroupVersion}})").Output(); err == nil {
		text += ", " + strings.TrimSpace(string(v))
	}
	return text
}
