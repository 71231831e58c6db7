package host_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
)

// A configuration that does not work leaves the cluster as it was, wherever that shows.
func TestApplyKeepsWhatRuns(t *testing.T) {
	tests := []struct {
		name  string
		plane clustertest.Plane
		nodes func(next bool) int // exit code of commands in nodes, and whether the configuration is the new one
		want  string
		hint  string
		same  bool // the control plane was not stopped
	}{
		{name: "refused by the check", plane: clustertest.Plane{Refuse: "unrecognized feature gate: No"}, want: "unrecognized feature gate: No", hint: "nothing has changed", same: true},
		{name: "control plane ends", plane: clustertest.Plane{ExitOn: "featureGates"}, want: "cannot run with", hint: "has its old configuration and runs"},
		{name: "programs end", nodes: func(next bool) int { return map[bool]int{true: 1}[next] }, want: "restart programs on node", hint: "has its old configuration and runs"},
		{name: "programs cannot be ended", nodes: func(bool) int { return 1 }, want: "restart programs on node", hint: "does not run with that either"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPhased(t)
			old, err := cluster.ReadSpec(p.Home.Cluster("demo"))
			must(t, err)
			pid := planePID(t, p.bench)
			tt.plane.Install(t, p.Home)
			if tt.nodes != nil {
				p.fake.Commands["/bin/sh"] = func(context.Context, cluster.Node, cluster.ExecSpec) int {
					now, err := cluster.ReadSpec(p.Home.Cluster("demo"))
					return tt.nodes(err == nil && now.Kubernetes.FeatureGates != nil)
				}
			}
			p.want.Kubernetes.FeatureGates = map[string]bool{"No": true}
			_, err = p.Apply(t.Context(), p.want, host.UpOptions{Timeout: time.Minute})
			var e *cluster.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(e.Hint, tt.hint) {
				t.Fatalf("error is %s, want %q and %q", describe(err), tt.want, tt.hint)
			}
			have, err := cluster.ReadSpec(p.Home.Cluster("demo"))
			must(t, err)
			if diff := cmp.Diff(old, have); diff != "" {
				t.Errorf("cluster.yaml is another one (-before +now):\n%s", diff)
			}
			p.expectStates(t, "n1 Running", "n2 Running", "n3 Running")
			info, err := p.Inspect(t.Context(), "demo")
			if err != nil || info.Phase != cluster.PhaseReady {
				t.Errorf("the cluster is %v, %v", info, err)
			}
			if now := planePID(t, p.bench); (now == pid) != tt.same {
				t.Errorf("the control plane was process %d, and is %d", pid, now)
			}
			if slices.Contains(p.order, "kubectl drain") {
				t.Errorf("a node was drained: %q", p.order)
			}
		})
	}
}

// What is refused is refused before a new cluster starts, too, and nothing is left.
func TestUpChecksFirst(t *testing.T) {
	b := newBench(t)
	clustertest.Plane{Refuse: "unrecognized feature gate: No"}.Install(t, b.Home)
	spec := request(1)
	spec.Kubernetes.FeatureGates = map[string]bool{"No": true}
	if _, err := b.Up(t.Context(), spec, host.UpOptions{Timeout: time.Minute}); err == nil || !strings.Contains(err.Error(), "make cluster demo: unrecognized feature gate: No") {
		t.Errorf("error is %s", describe(err))
	}
	b.checkGone(t)
}

// What a user put into the API hinders a file no more than it hinders a start: the API serves, and exit status and warnings tell.
func TestApplyToAHinderedCluster(t *testing.T) {
	const webhook = `failed calling webhook "w.test"`
	for _, tt := range []struct {
		name    string
		stop    bool // before
		changes bool
		fails   string
	}{
		{name: "stopped", stop: true},
		{name: "running"},
		{name: "stopped, and another configuration", stop: true, changes: true, fails: webhook},
		{name: "running, and another configuration", changes: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			spec := cluster.DefaultSpec()
			spec.Name = "demo"
			_, err := b.Apply(t.Context(), spec, host.UpOptions{})
			must(t, err)
			clustertest.Plane{Error: webhook, NoDNS: true}.Install(t, b.Home)
			if must(t, b.Stop(t.Context(), "demo")); !tt.stop {
				_, err := b.Start(t.Context(), "demo", host.UpOptions{Timeout: 2 * time.Second})
				must(t, err)
			}
			want := spec
			if tt.changes {
				want.Kubernetes.RuntimeConfig = map[string]string{"api/alpha": "true"}
			}
			r, err := b.Apply(t.Context(), want, host.UpOptions{Timeout: 2 * time.Second})
			if tt.fails != "" {
				var e *cluster.Error
				if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.fails) || !strings.Contains(e.Hint, "has its old configuration and runs") {
					t.Errorf("error is %s", describe(err))
				}
			} else if err != nil || !strings.Contains(strings.Join(r.Warnings, "; "), webhook) {
				t.Errorf("result is %+v, error %s", r, describe(err))
			}
			have, err := cluster.ReadSpec(b.Home.Cluster("demo"))
			if must(t, err); (have.Kubernetes.RuntimeConfig != nil) != (tt.changes && tt.fails == "") {
				t.Errorf("the runtime configuration is %v", have.Kubernetes.RuntimeConfig)
			}
			if planePID(t, b) == 0 {
				t.Error("there is no control plane")
			}
		})
	}
}
