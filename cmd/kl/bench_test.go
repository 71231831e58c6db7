//go:build e2e

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// benchRuns returns KL_BENCH_RUNS, or a default if it is not set.
func benchRuns(byDefault int) int {
	if v, err := strconv.Atoi(os.Getenv("KL_BENCH_RUNS")); err == nil && v > 0 {
		return v
	}
	return byDefault
}

// user has a KL_HOME and one cluster.
type user struct {
	b       testing.TB
	h       *harness
	home    string
	cluster string
	images  string
	driver  string // of the last cluster with nodes; empty if there was none
}

func newUser(b testing.TB) *user {
	b.Helper()
	h := newHarness(b)
	home, err := h.newHome()
	if err != nil {
		b.Fatal(err)
	}
	u := &user{b: b, h: h, home: home, cluster: fmt.Sprintf("bench-%d", os.Getpid()%10000)}
	b.Cleanup(func() { h.removeClusters(b, home, nil) })
	u.keep() // a file that cannot be added to is known before anything is measured
	return u
}

// warmUp unpacks the payload, imports the node image and builds the test images, so that no measurement includes that.
func (u *user) warmUp() {
	u.b.Helper()
	u.up(1)
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

// kl runs kl on the cluster, with KL_DRIVER, and returns its output.
func (u *user) kl(args ...string) string {
	u.b.Helper()
	if args[0] == "up" && u.h.driver != "" {
		args = append([]string{"up", "--driver", u.h.driver}, args[1:]...)
	}
	return u.klPlain(args...)
}

// klPlain is kl without KL_DRIVER, for clusters without real nodes.
func (u *user) klPlain(args ...string) string {
	u.b.Helper()
	cmd := u.command(u.h.kl, append([]string{"--name", u.cluster}, args...)...)
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

func (u *user) planePID() string {
	u.b.Helper()
	pid, err := os.ReadFile(u.layout().PIDFile())
	if err != nil {
		u.b.Fatal(err)
	}
	return strings.TrimSpace(string(pid))
}
