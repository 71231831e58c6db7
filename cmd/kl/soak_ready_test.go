//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

const (
	execTimeout = 2 * time.Second
	hedgePause  = 250 * time.Millisecond
)

// condition is one part of what makes a cluster Ready. What it looks at may be older than the time given.
type condition struct {
	name  string
	check func(ctx context.Context, since time.Time) error
}

// conditions are what has to be true of the cluster at the same time, cheap ones first.
func (s *soak) conditions() []condition {
	return []condition{
		{"control plane and nodes", s.planeReady},
		{"supervisors of nodes", s.supervised},
		{"a ConfigMap is written", func(_ context.Context, since time.Time) error { return s.maps.wroteSince(since) }},
		{"a line is written on each node", func(_ context.Context, since time.Time) error {
			for _, pod := range slices.Sorted(maps.Keys(s.lines)) {
				if err := s.lines[pod].wroteSince(since); err != nil {
					return fmt.Errorf("%s: %w", pod, err)
				}
			}
			return nil
		}},
		{"kubelets", s.kubeletsAnswer},
		{"exec and DNS in pods", s.podsWork},
		{"kl status", s.statusReady},
	}
}

// wait is what a cluster was not Ready for: one condition after another, each with the time until which it was missing.
type wait struct {
	took time.Duration
	last string // condition
	text string
}

// awaitReady waits until the cluster works. It ends the test if that is not so within giveUp of the fault's end.
func (s *soak) awaitReady(end time.Time) (w wait) {
	s.t.Helper()
	ctx, cancel := context.WithDeadline(s.t.Context(), end.Add(giveUp))
	defer cancel()
	var steps []string
	why := map[string]error{}
	note := func() {
		if w.last != "" {
			steps = append(steps, fmt.Sprintf("%s %.1fs", w.last, time.Since(end).Seconds()))
		}
	}
	for {
		name, err := s.firstMissing(ctx, end)
		if err == nil {
			break
		}
		if name != w.last {
			note()
		}
		w.last, why[name] = name, err
		select {
		case <-ctx.Done():
			s.t.Fatalf("not Ready %s after the fault's end: %s: %v", giveUp, name, err)
		case <-time.After(pollReady):
		}
	}
	note()
	w.took, w.text = time.Since(end), strings.Join(steps, ", ")
	if w.took > s.limit {
		for name, err := range why {
			s.t.Logf("what was missing last of %s: %v", name, err)
		}
	}
	return w
}

func (s *soak) firstMissing(ctx context.Context, since time.Time) (string, error) {
	for _, c := range s.conditions() {
		if err := c.check(ctx, since); err != nil {
			return c.name, err
		}
	}
	return "", nil
}

// planeReady is what `kl up` waits for: every component serves, and exactly the expected nodes are connected and Ready.
func (s *soak) planeReady(ctx context.Context, _ time.Time) error {
	c := cluster.NewClient(s.layout)
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	st, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if st.Phase != cluster.PhaseReady || !st.Ready.API {
		return fmt.Errorf("phase %s %s", st.Phase, st.Reason)
	}
	var ready []string
	for _, n := range st.Nodes {
		if !n.Connected || !n.Ready || !n.Registered {
			return fmt.Errorf("node %s: connected %t, ready %t, registered %t: %s", n.Name, n.Connected, n.Ready, n.Registered, n.Reason)
		}
		ready = append(ready, n.Name)
	}
	spec, err := cluster.ReadSpec(s.layout)
	if err != nil {
		return err
	}
	if want := strings.Join(s.nodes, " "); strings.Join(ready, " ") != want || strings.Join(spec.NodeNames(), " ") != want {
		return fmt.Errorf("nodes %v are ready and cluster.yaml has %v, want %s", ready, spec.NodeNames(), want)
	}
	return nil
}

// supervised is about driver embedded, whose nodes have a supervisor each.
func (s *soak) supervised(_ context.Context, _ time.Time) error {
	if s.driver != cluster.DriverEmbedded {
		return nil
	}
	for _, node := range s.nodes {
		if locked, err := statefile.Locked(filepath.Join(s.home, "embedded", s.name, node, "supervisor")); err != nil || !locked {
			return fmt.Errorf("node %s has no supervisor: %w", node, err)
		}
	}
	return nil
}

func (s *soak) kubeletsAnswer(ctx context.Context, _ time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	for _, node := range s.nodes {
		err := s.client.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("healthz").Do(ctx).Error()
		if err != nil {
			return fmt.Errorf("kubelet of %s: %w", node, err)
		}
	}
	return nil
}

// podsWork runs a program in the pod on each node, through kubelet and containerd, which asks the cluster's DNS.
func (s *soak) podsWork(ctx context.Context, _ time.Time) error {
	for _, pod := range slices.Sorted(maps.Keys(s.lines)) {
		err := hedged(ctx, func(ctx context.Context) error {
			return s.exec(ctx, pod, "app", "lookup", "kubernetes.default.svc.cluster.local.")
		})
		if err != nil {
			return fmt.Errorf("%s: %w", pod, err)
		}
	}
	return nil
}

// hedged calls f again and again without waiting for the calls before, since a query that nobody answers says nothing about the
// next one. It returns nil once one has, or else an error of those that had execTimeout.
func hedged(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	done := make(chan error, execTimeout/hedgePause+1)
	tick := time.NewTicker(hedgePause)
	defer tick.Stop()
	for pending := 0; ; {
		pending++
		go func() { done <- f(ctx) }()
		for waiting := true; waiting; {
			select {
			case err := <-done:
				pending--
				if err == nil || pending == 0 {
					return err
				}
			case <-tick.C:
				waiting = ctx.Err() != nil // then only the calls that have begun
			}
		}
	}
}

func (s *soak) exec(ctx context.Context, pod string, command ...string) error {
	ctx, cancel := context.WithTimeout(ctx, execTimeout)
	defer cancel()
	url := s.client.CoreV1().RESTClient().Post().Namespace(metav1.NamespaceDefault).Resource("pods").Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	executor, err := remotecommand.NewWebSocketExecutor(rest.CopyConfig(s.config), "GET", url.String())
	if err != nil {
		return err
	}
	var out bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &out})
	if err != nil {
		return fmt.Errorf("%w %s", err, strings.TrimSpace(out.String()))
	}
	return nil
}

// statusReady is what a person sees.
func (s *soak) statusReady(_ context.Context, _ time.Time) error {
	out, err := s.command("status", "-o", "json").Output()
	if err != nil {
		return fmt.Errorf("kl status: %w", err)
	}
	var info struct {
		Phase    string
		Problems []string
		Nodes    []struct {
			Name  string
			State string
			Ready bool
		}
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return err
	}
	if info.Phase != "Ready" || len(info.Problems) > 0 || len(info.Nodes) != len(s.nodes) {
		return fmt.Errorf("%s", out)
	}
	for _, n := range info.Nodes {
		if n.State != string(cluster.NodeRunning) || !n.Ready {
			return errors.New(n.Name + " is " + n.State)
		}
	}
	return nil
}
