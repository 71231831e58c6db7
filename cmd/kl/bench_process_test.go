//go:build e2e

package main

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/native"
)

// settle is how long work goes on after a start, and window how long CPU use is measured for one sample.
const (
	settle = 20 * time.Second
	window = 30 * time.Second
)

// clockTicks is USER_HZ, the ticks in a second: 100 on every Linux that Go supports.
const clockTicks = 100

// BenchmarkFootprint measures the size of kl, `kl version`, and what an idle cluster of one node costs. It needs root to read the
// memory of the node's processes. Samples of an idle cluster are half minutes of the same one.
//
//	make build && go test -tags e2e -run '^$' -bench Footprint -benchtime 1x ./cmd/kl
//
// KL_BENCH_RUNS is the number of half minutes (5), KL_DRIVER the driver.
func BenchmarkFootprint(b *testing.B) {
	runs := benchRuns(5)
	for b.Loop() {
		u := newUser(b)
		r := u.results()
		info, err := os.Stat(u.h.kl)
		if err != nil {
			b.Fatal(err)
		}
		r.sizes("size", info.Size())
		u.time(u.h.kl, "version") // reads kl from the disk
		var version []time.Duration
		for range 4 * runs {
			version = append(version, u.time(u.h.kl, "version"))
		}
		r.times("version", version...)
		u.up(1)
		u.footprint(r, runs)
		u.kl("down")
		r.publish("footprint")
	}
}

// footprint adds memory and idle CPU of a cluster of one node, by part and all together.
func (u *user) footprint(r *results, windows int) {
	u.b.Helper()
	<-time.After(settle)
	parts := []string{"", "/plane", "/node", "/dns"} // "" is all together
	memory, idle := map[string][]int64{}, map[string][]float64{}
	for range windows {
		pids, before := u.processes(), map[string]float64{}
		for _, part := range parts {
			if len(pids[part]) == 0 {
				u.b.Fatalf("no processes found of %q", cmp.Or(part, "the cluster"))
			}
			before[part] = cpuSeconds(pids[part])
		}
		began := time.Now()
		<-time.After(window)
		for _, part := range parts {
			idle[part] = append(idle[part], 100*(cpuSeconds(pids[part])-before[part])/time.Since(began).Seconds())
			memory[part] = append(memory[part], anonymousMemory(pids[part]))
		}
	}
	for _, part := range parts {
		r.sizes(u.perDriver("memory"+part), memory[part]...)
		r.numbers(u.perDriver("idle"+part), idle[part]...)
	}
}

// processes finds the IDs of all processes of the cluster: of the control plane and its supervisor (/plane), of the node's programs
// and its supervisor, if it has one on this machine (/node), and of pods and their shims (/dns, the only pod of an empty cluster).
// Those of "" are all of them.
func (u *user) processes() map[string][]string {
	u.b.Helper()
	all, _ := filepath.Glob("/proc/[0-9]*")
	if len(all) == 0 {
		u.b.Fatal("there are no processes in /proc")
	}
	known := map[string]string{u.planePID(): "/plane"} // part by process
	parent, commands := map[string]string{}, map[string]string{}
	for _, proc := range all {
		pid := filepath.Base(proc)
		status, _ := os.ReadFile(filepath.Join(proc, "status")) // it may have gone
		cmdline, _ := os.ReadFile(filepath.Join(proc, "cmdline"))
		parent[pid], commands[pid] = field(string(status), "PPid:", 1), string(cmdline)
		switch {
		case u.supervises(string(cmdline), host.SuperviseCommand):
			known[pid] = "/plane"
		case u.supervises(string(cmdline), native.SuperviseCommand), nodeOf(proc, u.cluster) != "":
			known[pid] = "/node"
		}
	}
	parts := map[string][]string{}
	for _, proc := range all {
		pid := filepath.Base(proc)
		part, shim := "", false
		for up := pid; up != "" && up != "0" && part == ""; up = parent[up] {
			part = known[up]
			shim = shim || part == "" && strings.Contains(commands[up], "containerd-shim")
		}
		if part == "/node" && shim {
			part = "/dns"
		}
		if part != "" {
			parts[part] = append(parts[part], pid)
			parts[""] = append(parts[""], pid)
		}
	}
	return parts
}

// supervises reports whether a process is kl, started again as a supervisor of this cluster's.
func (u *user) supervises(cmdline, verb string) bool {
	words := strings.Split(cmdline, "\x00")
	return len(words) > 2 && words[1] == verb && strings.Contains(words[2]+"/", "/"+u.cluster+"/") && strings.HasPrefix(words[2], u.home+"/")
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
