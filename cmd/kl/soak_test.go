//go:build e2e

package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/klog/v2"

	"github.com/klkube/kl/cluster"
)

// TestSoak runs a cluster of two nodes through faults, one a round, while writers note what the cluster acknowledged: a
// ConfigMap is made ten times a second, and a line appended to a volume on each node. After each round the cluster has to be
// Ready within five seconds of the fault's end, with nothing acknowledged missing and nothing left over on the machine.
//
//	make soak SOAK=1000 SOAKTIME=3h
//
// SOAK is the number of rounds (100), SOAKTIME the time after which no further round begins (30m), and SOAKSEED the number
// that makes the same choices again. SOAKFAULTS names the faults to choose from, separated by commas; all by default.
// KL_DRIVER is the driver of the clusters, and SOAKLIMIT replaces the five seconds on a machine that is busy with other work. Two faults touch more than the soak's own clusters, and are asked for:
// SOAKENGINE is the command that restarts the Docker engine, and SOAKDISK=1 puts KL_HOME on a file system of its own that is
// filled up.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	s.begin()
	for n := 1; n <= s.rounds && time.Now().Before(s.deadline); n++ {
		s.round(n)
	}
	s.finish()
}

const (
	giveUp    = time.Minute // after which a cluster is taken for lost, and the soak ends
	pollReady = 50 * time.Millisecond
)

// soak is one run of TestSoak.
type soak struct {
	t        *testing.T
	h        *harness
	rounds   int
	deadline time.Time
	limit    time.Duration // from a fault's end to a cluster that works
	rng      *rand.Rand
	faults   []fault
	bag      []fault // faults that have not had their turn

	home, name, side string // the cluster under test, and one beside it that comes and goes
	layout           cluster.Layout
	driver           cluster.DriverName
	nodes            []string // that the cluster should have

	*writers
	before map[string]int           // traces of the cluster when it was new
	verbs  map[string]time.Duration // how long a command takes that nobody kills
	sums   map[string]*sum
	done   int // rounds
}

// sum is what all rounds of one fault took.
type sum struct {
	end      string
	ready    []time.Duration
	commands []time.Duration
	last     map[string]int // what was waited for last
}

func newSoak(t *testing.T) *soak {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: the soak kills processes inside of nodes, which needs root")
	}
	quiet := flag.NewFlagSet("", flag.PanicOnError) // about requests that fail, which is what a soak is about
	klog.InitFlags(quiet)
	_ = quiet.Parse([]string{"-logtostderr=false", "-stderrthreshold=FATAL"})
	klog.SetOutput(io.Discard)
	h := newHarness(t)
	home, err := h.newHome()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("SOAKSEED"), strconv.FormatInt(time.Now().UnixNano()%1e6, 10)), 10, 64)
	if err != nil {
		t.Fatalf("SOAKSEED: %v", err)
	}
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("SOAK"), "100"))
	if err != nil || rounds < 1 {
		t.Fatalf("SOAK=%s: want a number of rounds", os.Getenv("SOAK"))
	}
	length := duration(t, "SOAKTIME", "30m")
	t.Logf("at most %d rounds in %s; the same choices again: SOAKSEED=%d", rounds, length, seed)
	s := &soak{
		t: t, h: h, rounds: rounds, deadline: time.Now().Add(length), limit: duration(t, "SOAKLIMIT", "5s"), rng: rand.New(rand.NewPCG(seed, seed)),
		home: home, name: fmt.Sprintf("soak-%d", os.Getpid()), side: fmt.Sprintf("side-%d", os.Getpid()),
		nodes: []string{"n1", "n2"}, sums: map[string]*sum{},
		verbs: map[string]time.Duration{"up": 5 * time.Second, "down": 2 * time.Second, "stop": 3 * time.Second,
			"start": 4 * time.Second, "node add": 4 * time.Second, "node remove": 2 * time.Second},
	}
	s.layout = cluster.Home(home).Cluster(s.name)
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, home)
		}
		h.takeDown(t, home, []string{"KUBECONFIG=" + filepath.Join(home, "kubeconfig")})
		s.unmount() // a directory that a file system is mounted on cannot be removed
		if err := removeTree(home); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return s
}

// duration returns the one in an environment variable.
func duration(t *testing.T, name, byDefault string) time.Duration {
	d, err := time.ParseDuration(cmp.Or(os.Getenv(name), byDefault))
	if err != nil || d <= 0 {
		t.Fatalf("%s=%s: want a time such as %s", name, os.Getenv(name), byDefault)
	}
	return d
}

// begin makes the cluster and starts the writers.
func (s *soak) begin() {
	if os.Getenv("SOAKDISK") != "" {
		s.mount()
	}
	s.must("up", "--nodes", strconv.Itoa(len(s.nodes)))
	spec, err := cluster.ReadSpec(s.layout)
	if err != nil {
		s.t.Fatal(err)
	}
	s.driver = spec.Driver
	s.faults = s.chosen()
	images, err := s.h.images()
	if err != nil {
		s.t.Fatal(err)
	}
	s.must("image", "load", filepath.Join(images, "app.tar"))
	s.must("kubectl", "apply", "-f", filepath.Join(s.h.source, "testdata", "manifests", "journal.yaml"))
	s.must("kubectl", "rollout", "status", "statefulset/journal", "--timeout=60s")
	s.writers = startWriters(s.t, s.layout)
	began := time.Now()
	w := s.awaitReady(began)
	s.before = s.traces()
	s.t.Logf("driver %s, ready for the first fault after %s", s.driver, w.took.Round(time.Millisecond))
}

// round does one fault and checks all promises.
func (s *soak) round(n int) {
	if len(s.bag) == 0 { // each fault has its turn before any has a second one
		for _, i := range s.rng.Perm(len(s.faults)) {
			s.bag = append(s.bag, s.faults[i])
		}
	}
	f := s.bag[0]
	s.bag = s.bag[1:]
	began := time.Now()
	o := f.run(s)
	w := s.awaitReady(o.end)
	line := fmt.Sprintf("round %d: %s: %s: Ready after %.1fs", n, f.name, o.what, w.took.Seconds())
	if o.command > 0 {
		line += fmt.Sprintf(", the command given again took %.1fs", o.command.Seconds())
	}
	s.t.Logf("%s; waited for: %s", line, w.text)
	if o.undo != nil {
		o.undo()
	}
	s.verify()
	s.checkTraces()
	s.t.Logf("round %d took %s", n, time.Since(began).Round(100*time.Millisecond))
	if w.took > s.limit {
		s.t.Errorf("round %d: %s: Ready after %.1fs, want %s", n, f.name, w.took.Seconds(), s.limit)
	}
	r := s.sums[f.name]
	if r == nil {
		r = &sum{end: f.end, last: map[string]int{}}
		s.sums[f.name] = r
	}
	r.ready = append(r.ready, w.took)
	r.last[w.last]++
	if o.command > 0 {
		r.commands = append(r.commands, o.command)
	}
	s.done = n
}

// finish checks once more, removes all clusters and prints the figures.
func (s *soak) finish() {
	s.verify()
	s.writers.stop()
	s.t.Log(s.writers.summary())
	s.must("down", "--all")
	s.checkGone()
	var table strings.Builder
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(&table, "%d rounds, driver %s, load of the machine %s", s.done, s.driver, load)
	fmt.Fprintln(&table, "seconds from the fault's end to Ready: median, worst")
	for _, f := range s.faults {
		r := s.sums[f.name]
		if r == nil {
			continue
		}
		m, w := extremes(r.ready)
		fmt.Fprintf(&table, "%4d × %-18s %5.1f %5.1f   since %s", len(r.ready), f.name, m, w, r.end)
		if len(r.commands) > 0 {
			m, w := extremes(r.commands)
			fmt.Fprintf(&table, ", the command given again took %.1f, at most %.1f", m, w)
		}
		fmt.Fprintf(&table, "; last: %s\n", mostOften(r.last))
	}
	s.t.Log(table.String())
	if s.done == 0 {
		s.t.Error("there was no time for a single round")
	}
}

// extremes returns the median and the largest, in seconds.
func extremes(d []time.Duration) (median, worst float64) {
	sorted := slices.Sorted(slices.Values(d))
	middle := sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2] // twice the same if their number is odd
	return middle.Seconds() / 2, sorted[len(sorted)-1].Seconds()
}

func mostOften(counts map[string]int) string {
	most := ""
	for k, n := range counts {
		if n > counts[most] || n == counts[most] && k < most {
			most = k
		}
	}
	return most
}
