//go:build e2e

package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/klkube/kl/testdata/bench/figures"
)

// BenchmarkCrowd measures a cluster of 1,000 simulated nodes, beside U, and the start of 10,000 pods on them: a Deployment in
// ten, as the control plane runs them.
//
//	make build && go test -tags e2e -run '^$' -bench Crowd -benchtime 1x ./cmd/kl
//
// KL_BENCH_CROWDS is the number of rounds (1): each takes minutes.
func BenchmarkCrowd(b *testing.B) {
	rounds, _ := strconv.Atoi(os.Getenv("KL_BENCH_CROWDS"))
	for b.Loop() {
		u := newUser(b)
		c := &crowd{user: u, nodes: 1000, pods: 10_000, other: newUpstream(u)}
		u.klPlain("up", "--nodes", "0")
		u.kl("down")
		for range max(rounds, 1) {
			c.round()
		}
		c.results().publish("simulated nodes")
	}
}

// crowd is what was measured of simulated nodes and pods, a sample a round.
type crowd struct {
	*user
	nodes, pods int
	other       *upstream

	upstream, up, running      []time.Duration
	upstreamMemory, idle, peak []int64
}

func (c *crowd) round() {
	took, memory := c.other.run()
	c.upstream, c.upstreamMemory = append(c.upstream, took), append(c.upstreamMemory, memory)
	began := time.Now()
	c.klPlain("up", "--nodes", "0", "--simulated", strconv.Itoa(c.nodes), "--ephemeral", "--timeout", "5m")
	c.up = append(c.up, time.Since(began))
	defer c.kl("down")
	c.idle = append(c.idle, anonymousMemory([]string{c.planePID()}))
	manifest := filepath.Join(c.home, "crowd.yaml")
	if err := os.WriteFile(manifest, []byte(crowdManifest(c.pods)), 0o600); err != nil {
		c.b.Fatal(err)
	}
	allRun, peak := c.watchRunning(c.pods), c.watchMemory()
	began = time.Now()
	c.kl("kubectl", "apply", "-f", manifest)
	c.running = append(c.running, allRun().Sub(began))
	c.peak = append(c.peak, peak())
}

func (c *crowd) results() *results {
	r := c.user.results()
	u := r.add(figures.NewTimes("upstream", c.upstream...))
	r.sizes("upstream/memory", c.upstreamMemory...)
	nodes := fmt.Sprintf("/nodes=%d", c.nodes)
	up, err := figures.NewTimes("up/simulated"+nodes, c.up...)
	if err == nil {
		up, err = up.Of(u)
	}
	r.add(up, err)
	r.sizes("up/simulated/memory"+nodes, c.idle...)
	pods := fmt.Sprintf("%s/pods=%d/deployments=%d", nodes, c.pods, crowdDeployments)
	r.times("crowd"+pods, c.running...)
	r.sizes("crowd/memory"+pods, c.peak...)
	return r
}

const crowdDeployments = 10

func crowdManifest(pods int) string {
	var text strings.Builder
	for i := range crowdDeployments {
		fmt.Fprintf(&text, `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: crowd-%d}
spec:
  replicas: %d
  progressDeadlineSeconds: 1200
  selector: {matchLabels: {app: crowd-%d}}
  template:
    metadata: {labels: {app: crowd-%d}}
    spec:
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      containers: [{name: c, image: any}]
`, i, pods/crowdDeployments, i, i)
	}
	return text.String()
}

// watchRunning counts the pods that have run since it was called. The function that it returns waits until there were so many, and
// returns when that was. Pods that run are not counted by their Deployments' rollouts, which wait for pods that are Ready: on a busy
// machine simulated nodes renew their leases late, and the simulator does not make their pods Ready again.
func (u *user) watchRunning(pods int) (wait func() time.Time) {
	u.b.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", u.layout().Kubeconfig())
	if err != nil {
		u.b.Fatal(err)
	}
	client, err := metadata.NewForConfig(config)
	if err != nil {
		u.b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(u.b.Context(), 15*time.Minute)
	running := client.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace("default")
	seen, all := map[types.UID]bool{}, make(chan time.Time, 1)
	go func() {
		defer close(all)
		for ctx.Err() == nil { // the API server ends a watch that is slow to read, and the next one begins with all that run
			events, werr := running.Watch(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
			if werr != nil {
				err = werr
				return
			}
			for e := range events.ResultChan() {
				if pod, ok := e.Object.(*metav1.PartialObjectMetadata); ok && e.Type == watch.Added {
					seen[pod.UID] = true
				}
				if len(seen) == pods {
					events.Stop()
					all <- time.Now()
					return
				}
			}
		}
	}()
	return func() time.Time {
		u.b.Helper()
		defer cancel()
		at, ok := <-all
		if !ok {
			u.b.Fatalf("%d of %d pods run: %v", len(seen), pods, cmp.Or(err, ctx.Err()))
		}
		return at
	}
}

// watchMemory reads the control plane's memory every second until the function it returns is called, which returns the
// largest value.
func (u *user) watchMemory() func() int64 {
	ctx, cancel := context.WithCancel(u.b.Context())
	found := make(chan int64)
	pid := []string{u.planePID()}
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		var most int64
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
			most = max(most, anonymousMemory(pid))
		}
		found <- most
	}()
	return func() int64 { cancel(); return <-found }
}
