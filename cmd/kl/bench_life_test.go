//go:build e2e

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkLife measures up, stop, start, pause and resume, and clusters of simulated nodes.
//
//	make build && go test -tags e2e -run '^$' -bench Life -benchtime 1x ./cmd/kl
//
// KL_BENCH_RUNS is the number of runs (5), KL_DRIVER the driver (embedded).
func BenchmarkLife(b *testing.B) {
	runs := benchRuns(5)
	if os.Getenv("KL_DRIVER") == "" {
		b.Setenv("KL_DRIVER", "embedded")
	}
	for b.Loop() {
		u := newUser(b)
		u.warmUp()
		rows := u.lifeCycle(runs)
		rows = append(rows, u.nodeless(runs)...)
		rows = append(rows, u.crowd(1000, 10_000)...)
		var table strings.Builder
		fmt.Fprintf(&table, "\n| measured (median of %d), driver %s | %s |\n| --- | --- |\n", runs, os.Getenv("KL_DRIVER"), u.machine())
		for _, r := range rows {
			fmt.Fprintf(&table, "| %s | %s |\n", r[0], r[1])
		}
		fmt.Println(table.String())
	}
}

// lifeCycle measures up, stop, start, pause and resume of a cluster of one node.
func (u *user) lifeCycle(runs int) [][2]string {
	took := map[string][]time.Duration{}
	verbs := []string{"up", "pause", "resume", "stop", "start"}
	for range runs {
		for _, verb := range verbs {
			began := time.Now()
			u.kl(verb)
			if verb == "resume" {
				u.kl("kubectl", "get", "--raw", "/readyz")
			}
			took[verb] = append(took[verb], time.Since(began))
		}
		u.kl("down")
	}
	return [][2]string{
		{"`kl up` to ready", seconds(took["up"])},
		{"`kl stop`", seconds(took["stop"])},
		{"`kl start` to ready", seconds(took["start"])},
		{"`kl pause`", milliseconds(took["pause"])},
		{"`kl resume`, and the API answers", milliseconds(took["resume"])},
	}
}

// nodeless measures a control plane without nodes.
func (u *user) nodeless(runs int) [][2]string {
	var up []time.Duration
	var memory int64
	for range runs {
		began := time.Now()
		u.klPlain("up", "--nodes", "0", "--ephemeral")
		up = append(up, time.Since(began))
		memory = anonymousMemory([]string{u.planePID()})
		u.kl("down")
	}
	return [][2]string{
		{"`kl up --nodes 0 --ephemeral` to ready", seconds(up)},
		{"the same, anonymous memory then", fmt.Sprintf("%.0f MB", float64(memory)/1e6)},
	}
}

// crowd measures simulated nodes and pods, once.
func (u *user) crowd(nodes, pods int) [][2]string {
	began := time.Now()
	u.klPlain("up", "--nodes", "0", "--simulated", strconv.Itoa(nodes), "--ephemeral", "--timeout", "5m")
	up := time.Since(began)
	defer u.kl("down")
	ready := anonymousMemory([]string{u.planePID()})
	manifest := filepath.Join(u.home, "crowd.yaml")
	if err := os.WriteFile(manifest, []byte(crowdManifest(pods)), 0o600); err != nil {
		u.b.Fatal(err)
	}
	peak := u.watchMemory()
	began = time.Now()
	u.kl("kubectl", "apply", "-f", manifest)
	u.kl("kubectl", "rollout", "status", "deployment/crowd-0", "--timeout=10m")
	for i := 1; i < crowdDeployments; i++ {
		u.kl("kubectl", "rollout", "status", fmt.Sprintf("deployment/crowd-%d", i), "--timeout=10m")
	}
	running := time.Since(began)
	return [][2]string{
		{fmt.Sprintf("`kl up --nodes 0 --simulated %d` to all Ready", nodes), fmt.Sprintf("%.0f s", up.Seconds())},
		{"the same, anonymous memory then", fmt.Sprintf("%.0f MB", float64(ready)/1e6)},
		{fmt.Sprintf("then %d pods of %d Deployments applied to all Running", pods, crowdDeployments), fmt.Sprintf("%.0f s", running.Seconds())},
		{"the same, largest anonymous memory meanwhile", fmt.Sprintf("%.0f MB", float64(peak())/1e6)},
	}
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

// klPlain runs kl without KL_DRIVER, for clusters without real nodes.
func (u *user) klPlain(args ...string) {
	u.b.Helper()
	u.time(u.h.kl, append([]string{"--name", u.cluster}, args...)...)
}

func (u *user) planePID() string {
	pid, err := os.ReadFile(filepath.Join(u.home, "clusters", u.cluster, "run", "control-plane.pid"))
	if err != nil {
		u.b.Fatal(err)
	}
	return strings.TrimSpace(string(pid))
}

// milliseconds is seconds for short times.
func milliseconds(d []time.Duration) string {
	s := slices.Sorted(slices.Values(d))
	return fmt.Sprintf("%d ms (%d–%d)", s[len(s)/2].Milliseconds(), s[0].Milliseconds(), s[len(s)-1].Milliseconds())
}
