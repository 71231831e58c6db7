//go:build e2e

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/klkube/kl/testdata/bench/figures"
)

// results are the rows of one benchmark. They are in the file KL_BENCH_JSON as soon as they are printed.
type results struct {
	u    *user
	rows []figures.Row
}

func (u *user) results() *results { return &results{u: u} }

// perDriver is the key of something that depends on how nodes are made.
func (u *user) perDriver(key string) string { return key + "/driver=" + u.driver }

// add adds a row, or fails if it cannot be one.
func (r *results) add(row figures.Row, err error) figures.Row {
	r.u.b.Helper()
	if err != nil {
		r.u.b.Fatal(err)
	}
	r.rows = append(r.rows, row)
	return row
}

func (r *results) times(key string, times ...time.Duration) {
	r.u.b.Helper()
	r.add(figures.NewTimes(key, times...))
}

func (r *results) sizes(key string, bytes ...int64) {
	r.u.b.Helper()
	r.add(figures.NewSizes(key, bytes...))
}

func (r *results) numbers(key string, numbers ...float64) {
	r.u.b.Helper()
	r.add(figures.NewRow(key, numbers...))
}

// publish prints the rows as a table, and adds them to the file KL_BENCH_JSON, if that is set.
func (r *results) publish(title string) {
	r.u.b.Helper()
	if r.u.driver != "" {
		title += ", driver " + r.u.driver
	}
	about := thisMachine()
	if engine := r.u.engine(); engine != "" {
		about += ", " + engine
	}
	fmt.Println("\n" + figures.Table(title, about, r.rows))
	r.u.keep(r.rows...)
}

// keep adds rows to the file KL_BENCH_JSON, if that is set.
func (u *user) keep(rows ...figures.Row) {
	u.b.Helper()
	if file := os.Getenv("KL_BENCH_JSON"); file != "" {
		if err := figures.Add(file, u.run(), rows...); err != nil {
			u.b.Fatal(err)
		}
	}
}

// run describes what is measured, and where.
func (u *user) run() figures.Run {
	u.b.Helper()
	var version struct{ KL, Kubernetes string }
	out, err := u.command(u.h.kl, "version", "-o", "json").Output()
	if err == nil {
		err = json.Unmarshal(out, &version)
	}
	if err != nil {
		u.b.Fatalf("kl version: %v", err)
	}
	r := figures.Run{
		Date: time.Now().UTC().Format(time.DateOnly), KL: version.KL, Kubernetes: version.Kubernetes,
		Commit: u.commit(), Binary: u.digest(), Machine: thisMachine(),
	}
	if r.ID = r.Date + " " + r.Binary[:12]; u.driver != "" {
		r.Drivers = map[string]string{u.driver: u.engine()}
	}
	return r
}

// commit is that of the source tree, with -dirty if files of it have changed; empty if it is not git's.
func (u *user) commit() string {
	cmd := u.command("git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty")
	cmd.Dir = u.h.source
	out, err := cmd.Output()
	if err != nil {
		u.b.Logf("the commit is not known: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// digest is the SHA-256 of kl.
func (u *user) digest() string {
	u.b.Helper()
	f, err := os.Open(u.h.kl)
	if err != nil {
		u.b.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		u.b.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// engine describes the container engine, if it makes the nodes.
func (u *user) engine() string {
	if u.driver != "docker" {
		return ""
	}
	out, err := exec.Command("docker", "info", "--format", "Docker {{.ServerVersion}} ({{.Driver}}, cgroup v{{.CgroupVersion}})").Output()
	if err != nil {
		u.b.Logf("docker info: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// thisMachine describes this machine in a few words.
func thisMachine() string {
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
	return fmt.Sprintf("%d cores of %s, %.0f GiB, Linux %s", runtime.NumCPU(), model, kb/(1<<20), strings.TrimSpace(string(kernel)))
}
