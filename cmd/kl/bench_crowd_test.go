//go:build e2e

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

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
	peak := c.watchMemory()
	began = time.Now()
	c.kl("kubectl", "apply", "-f", manifest)
	for i := range crowdDeployments {
		c.kl("kubectl", "rollout", "status", fmt.Sprintf("deployment/crowd-%d", i), "--timeout=10m")
	}
	c.running = append(c.running, time.Since(began))
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
