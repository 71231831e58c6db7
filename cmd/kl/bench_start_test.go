//go:build e2e

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/testdata/bench/figures"
)

// BenchmarkStart measures starts in rounds: U, which is etcd and kube-apiserver alone; kl without nodes; with one node, which then
// gets its first pods and is paused, stopped and started; with two nodes. Every other round goes the other way round, so that
// whatever the machine does meanwhile meets all of them.
//
//	make build && go test -tags e2e -run '^$' -bench Start -benchtime 1x ./cmd/kl
//
// KL_BENCH_RUNS is the number of rounds (5), KL_DRIVER the driver.
func BenchmarkStart(b *testing.B) {
	runs := benchRuns(5)
	for b.Loop() {
		u := newUser(b)
		u.warmUp()
		s := newStarts(u)
		for i := range runs {
			s.round(i, s.upstream, s.nodeless, s.oneNode, s.twoNodes)
		}
		s.results().publish("starts")
	}
}

// starts are starts of several kinds, which are measured in rounds.
type starts struct {
	u     *user
	other *upstream
	times map[string][]time.Duration
	bytes map[string][]int64
}

func newStarts(u *user) *starts {
	return &starts{u: u, other: newUpstream(u), times: map[string][]time.Duration{}, bytes: map[string][]int64{}}
}

// round measures everything once.
func (s *starts) round(i int, parts ...func()) {
	parts = slices.Clone(parts)
	if i%2 == 1 {
		slices.Reverse(parts)
	}
	for _, measure := range parts {
		measure()
	}
}

func (s *starts) took(key string, d time.Duration) { s.times[key] = append(s.times[key], d) }

// timed runs kl and notes how long that took.
func (s *starts) timed(key string, args ...string) {
	began := time.Now()
	s.u.kl(args...)
	s.took(key, time.Since(began))
}

func (s *starts) upstream() {
	took, memory := s.other.run()
	s.took("upstream", took)
	s.bytes["upstream/memory"] = append(s.bytes["upstream/memory"], memory)
}

// nodeless starts a control plane without nodes. Its memory is read at the moment at which that of upstream's is: once it is ready.
func (s *starts) nodeless() {
	began := time.Now()
	s.u.klPlain("up", "--nodes", "0")
	s.took("up/nodes=0", time.Since(began))
	s.bytes["up/memory/nodes=0"] = append(s.bytes["up/memory/nodes=0"], anonymousMemory([]string{s.u.planePID()}))
	s.u.kl("down")
}

// up starts a cluster and returns how long it took to return, and until its last node was Ready.
func (u *user) up(nodes int) (all, ready time.Duration) {
	u.b.Helper()
	began := time.Now()
	out := u.kl("up", "--nodes", strconv.Itoa(nodes), "-o", "json")
	all = time.Since(began)
	lines := strings.Split(strings.TrimSpace(out), "\n") // events, and then the result
	var document struct{ Result host.Result }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &document); err != nil {
		u.b.Fatalf("kl up printed %q: %v", out, err)
	}
	u.driver = string(document.Result.Driver)
	end := 0.0 // of the nodes' steps, in seconds from the beginning
	for n := range nodes {
		name := "n" + strconv.Itoa(n+1)
		i := slices.IndexFunc(document.Result.Steps, func(s cluster.Step) bool { return s.Name == name })
		if i < 0 {
			u.b.Fatalf("kl up does not say when node %s was Ready: %s", name, out)
		}
		end = max(end, document.Result.Steps[i].Began+document.Result.Steps[i].Seconds)
	}
	// The command's clock begins when the program runs; what came before is part of the time until the node was Ready.
	after := time.Duration((document.Result.Seconds - end) * float64(time.Second))
	return all, all - after
}

// node starts a cluster of one node.
func (s *starts) node() {
	all, ready := s.u.up(1)
	s.took(s.u.perDriver("up/nodes=1"), all)
	s.took(s.u.perDriver("up/ready/nodes=1"), ready)
}

// bareNode starts one node, and nothing on it.
func (s *starts) bareNode() {
	s.node()
	s.u.kl("down")
}

// oneNode starts one node, gives it its first pods, and takes it through its life.
func (s *starts) oneNode() {
	u := s.u
	s.node()
	u.kl("image", "load", filepath.Join(u.images, "busybox.tar"))
	s.firstPod()
	s.timed(u.perDriver("load"), "image", "load", filepath.Join(u.images, "app.tar"))
	began := time.Now()
	u.kl("kubectl", "apply", "-f", filepath.Join(u.h.source, "testdata", "manifests", "dnsapp.yaml"))
	u.kl("kubectl", "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/client", "--timeout=60s")
	s.took(u.perDriver("app"), time.Since(began))
	last := func(key string) time.Duration { d := s.times[u.perDriver(key)]; return d[len(d)-1] }
	s.took(u.perDriver("app/all"), last("up/nodes=1")+last("load")+last("app"))
	u.kl("kubectl", "delete", "-f", filepath.Join(u.h.source, "testdata", "manifests", "dnsapp.yaml"))
	s.timed(u.perDriver("pause"), "pause")
	began = time.Now()
	u.kl("resume")
	u.kl("kubectl", "get", "--raw", "/readyz")
	s.took(u.perDriver("resume"), time.Since(began))
	s.timed(u.perDriver("stop"), "stop")
	s.timed(u.perDriver("start"), "start")
	u.kl("down")
}

func (s *starts) twoNodes() {
	all, _ := s.u.up(2)
	s.took(s.u.perDriver("up/nodes=2"), all)
	s.u.kl("down")
}

const firstPodManifest = `
apiVersion: v1
kind: Pod
metadata: {name: first}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: kl.test/busybox:1, imagePullPolicy: Never, command: [sleep, "600"]}]
`

// firstPod applies the first pod of an image, as a user does, and watches it until it runs.
func (s *starts) firstPod() {
	u := s.u
	manifest := filepath.Join(u.home, "first.yaml")
	if err := os.WriteFile(manifest, []byte(firstPodManifest), 0o600); err != nil {
		u.b.Fatal(err)
	}
	c := u.claims()
	events, err := c.client.CoreV1().Pods("default").Watch(u.b.Context(), metav1.ListOptions{FieldSelector: "metadata.name=first"})
	if err != nil {
		u.b.Fatal(err)
	}
	defer events.Stop()
	ran := make(chan [2]time.Time, 1)
	go func() {
		var at [2]time.Time
		for e := range events.ResultChan() {
			pod, ok := e.Object.(*corev1.Pod)
			if ok && at[0].IsZero() {
				at[0] = time.Now()
			}
			if ok && pod.Status.Phase == corev1.PodRunning {
				at[1] = time.Now()
				ran <- at
				return
			}
		}
	}()
	began := time.Now()
	u.kl("kubectl", "apply", "-f", manifest)
	select {
	case at := <-ran:
		s.took(u.perDriver("pod/first"), at[1].Sub(began))
		s.took(u.perDriver("pod/first/created"), at[1].Sub(at[0]))
	case <-time.After(time.Minute):
		u.b.Fatalf("the first pod does not run after a minute:\n%s", u.kl("kubectl", "describe", "pod", "first"))
	}
	u.kl("kubectl", "delete", "-f", manifest)
}

// results are the rows in the order of the catalogue of this benchmark, each start with its ratio to U.
func (s *starts) results() *results {
	r := s.u.results()
	u := r.add(figures.NewTimes("upstream", s.times["upstream"]...))
	memory := r.add(figures.NewSizes("upstream/memory", s.bytes["upstream/memory"]...))
	of := func(row figures.Row, err error, base figures.Row) {
		if err == nil {
			row, err = row.Of(base)
		}
		r.add(row, err)
	}
	compared := []string{"up/nodes=0", s.u.perDriver("up/ready/nodes=1"), s.u.perDriver("up/nodes=1"), s.u.perDriver("up/nodes=2"), s.u.perDriver("start")}
	for _, key := range compared {
		if s.times[key] != nil {
			row, err := figures.NewTimes(key, s.times[key]...)
			of(row, err, u)
		}
		if size := "up/memory/nodes=0"; key == "up/nodes=0" {
			row, err := figures.NewSizes(size, s.bytes[size]...)
			of(row, err, memory)
		}
	}
	for _, name := range []string{"pod/first", "pod/first/created", "load", "app", "app/all", "pause", "resume", "stop"} {
		if key := s.u.perDriver(name); s.times[key] != nil {
			r.times(key, s.times[key]...)
		}
	}
	return r
}
