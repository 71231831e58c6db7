//go:build e2e

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkUser measures start times, memory and size, and prints a table for the README. It needs root to read the memory
// of nodes' processes.
//
//	make build && go test -tags e2e -run '^$' -bench User -benchtime 1x ./cmd/kl
//
// KL_BENCH_RUNS is the number of runs (5), KL_DRIVER the driver.
func BenchmarkUser(b *testing.B) {
	runs := benchRuns(5)
	for b.Loop() {
		u := newUser(b)
		u.warmUp()
		rows := [][2]string{
			{"size of `bin/kl`", u.size()},
			{"`kl version`", median(4*runs, func() time.Duration { return u.time(u.h.kl, "version") })},
		}
		rows = append(rows, u.ups(1, runs)...)
		rows = append(rows, u.ups(2, runs)...)
		rows = append(rows, u.footprint()...)
		var table strings.Builder
		fmt.Fprintf(&table, "\n| measured (median of %d) | %s |\n| --- | --- |\n", runs, u.machine())
		for _, r := range rows {
			fmt.Fprintf(&table, "| %s | %s |\n", r[0], r[1])
		}
		fmt.Println(table.String())
	}
}

// benchRuns returns KL_BENCH_RUNS, or a default if it is not set.
func benchRuns(byDefault int) int {
	if v, err := strconv.Atoi(os.Getenv("KL_BENCH_RUNS")); err == nil && v > 0 {
		return v
	}
	return byDefault
}

// user has a KL_HOME and one cluster.
type user struct {
	b       *testing.B
	h       *harness
	home    string
	cluster string
	images  string
}

func newUser(b *testing.B) *user {
	b.Helper()
	h := newHarness(b)
	home, err := h.newHome()
	if err != nil {
		b.Fatal(err)
	}
	u := &user{b: b, h: h, home: home, cluster: fmt.Sprintf("bench-%d", os.Getpid()%10000)}
	b.Cleanup(func() { h.removeClusters(b, home, nil) })
	return u
}

// warmUp unpacks the payload, imports the node image and builds the test images, so that no measurement includes that.
func (u *user) warmUp() {
	u.kl("up")
	var err error
	if u.images, err = u.h.images(); err != nil {
		u.b.Fatal(err)
	}
	u.kl("down")
}

func (u *user) command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(u.b.Context(), name, args...)
	cmd.Env = append(os.Environ(), "KL_HOME="+u.home, "KUBECONFIG="+filepath.Join(u.home, "kubeconfig"))
	return cmd
}

// kl runs kl on the cluster and returns its output.
func (u *user) kl(args ...string) string {
	u.b.Helper()
	cmd := u.command(filepath.Join(u.h.bin, "kl"), append(args[:1:1], append([]string{"--name", u.cluster}, args[1:]...)...)...)
	if args[0] == "kubectl" {
		cmd = u.command(u.h.kl, append([]string{"--name", u.cluster}, args...)...)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		showLogs(u.b, u.home)
		u.b.Fatalf("kl %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// time runs a program and returns how long that took.
func (u *user) time(name string, args ...string) time.Duration {
	u.b.Helper()
	cmd := u.command(name, args...)
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		u.b.Fatalf("%s: %v\n%s", name, err, out)
	}
	return time.Since(began)
}

// ups measures up, and with one node also the start of an application.
func (u *user) ups(nodes, runs int) [][2]string {
	var up, load, app []time.Duration
	for range runs {
		began := time.Now()
		u.kl("up", "--nodes", strconv.Itoa(nodes))
		up = append(up, time.Since(began))
		if nodes == 1 {
			began = time.Now()
			u.kl("image", "load", filepath.Join(u.images, "app.tar"))
			load = append(load, time.Since(began))
			began = time.Now()
			u.kl("kubectl", "apply", "-f", filepath.Join(u.h.source, "testdata", "manifests", "dnsapp.yaml"))
			u.kl("kubectl", "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/client", "--timeout=60s")
			app = append(app, time.Since(began))
		}
		u.kl("down")
	}
	rows := [][2]string{{fmt.Sprintf("`kl up --nodes %d` to ready", nodes), seconds(up)}}
	if nodes == 1 {
		all := make([]time.Duration, runs)
		for i := range all {
			all[i] = up[i] + load[i] + app[i]
		}
		rows = append(rows,
			[2]string{"Deployment + Service applied to answering another pod by name", seconds(app)},
			[2]string{"the same from nothing, with `kl up` and `kl image load`", seconds(all)})
	}
	return rows
}

func (u *user) size() string {
	info, err := os.Stat(u.h.kl)
	if err != nil {
		u.b.Fatal(err)
	}
	return fmt.Sprintf("%.0f MB", float64(info.Size())/1e6)
}

func median(n int, measure func() time.Duration) string {
	var d []time.Duration
	for range n {
		d = append(d, measure())
	}
	slices.Sort(d)
	return fmt.Sprintf("%d ms", d[len(d)/2].Milliseconds())
}

// seconds formats the median and the range.
func seconds(d []time.Duration) string {
	s := slices.Sorted(slices.Values(d))
	return fmt.Sprintf("%.1f s (%.1f–%.1f)", s[len(s)/2].Seconds(), s[0].Seconds(), s[len(s)-1].Seconds())
}
