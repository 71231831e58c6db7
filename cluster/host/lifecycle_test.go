package host_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster/host"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
)

// states lists "n1 Running" and so on, as the driver sees the cluster.
func (b *bench) states(t *testing.T) []string {
	t.Helper()
	nodes, err := b.fake.List(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, n := range nodes {
		out = append(out, n.Name+" "+string(n.State))
	}
	return out
}

func (b *bench) expectStates(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, b.states(t)); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(describe(err))
	}
}

func TestStopAndStart(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(2))
	before, err := b.fake.List(t.Context(), "demo")
	must(t, err)
	for range 2 { // twice does nothing more
		must(t, b.Stop(t.Context(), "demo"))
		b.expectStates(t, "n1 Stopped", "n2 Stopped")
		if pid := planePID(t, b); pid != 0 {
			t.Errorf("control plane %d still runs", pid)
		}
	}
	r, err := b.Start(t.Context(), "demo", host.UpOptions{Timeout: time.Minute})
	must(t, err)
	if r.Nodes != 2 || r.Running {
		t.Errorf("result is %+v", r)
	}
	after, err := b.fake.List(t.Context(), "demo")
	must(t, err)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("nodes changed (-before +after):\n%s", diff)
	}
	if _, err := b.Start(t.Context(), "nothere", host.UpOptions{}); err == nil {
		t.Error("Start makes a cluster that does not exist")
	}
}

// TestStartLeavesTheAPIOn starts a cluster of which something does not come up: it stays on, and a warning names that.
func TestStartLeavesTheAPIOn(t *testing.T) {
	for _, tt := range []struct {
		name  string
		plane clustertest.Plane
		want  string
	}{
		{"DNS", clustertest.Plane{NoDNS: true}, "cluster DNS does not answer"},
		{"a node", clustertest.Plane{Lacking: []string{"n1"}}, "node n1 is not ready: container runtime is down"},
		{"what components report", clustertest.Plane{Error: "refused by webhook w.test"}, "kube-scheduler: refused by webhook w.test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.mustUp(t, request(1))
			if err := b.Stop(t.Context(), "demo"); err != nil {
				t.Fatal(err)
			}
			tt.plane.Install(t, b.Home)
			r, err := b.Start(t.Context(), "demo", host.UpOptions{Timeout: 2 * time.Second})
			if err != nil {
				t.Fatal(describe(err))
			}
			if len(r.Warnings) != 1 || !strings.HasPrefix(r.Warnings[0], tt.want) {
				t.Errorf("warnings are %q, want %q", r.Warnings, tt.want)
			}
			said := slices.ContainsFunc(b.events, func(e cluster.Event) bool {
				return e.State == cluster.StepWarning && strings.HasPrefix(e.Message, tt.want)
			})
			if !said || planePID(t, b) == 0 || r.Kubeconfig == "" {
				t.Errorf("warning said: %t; control plane is process %d; kubeconfig %q", said, planePID(t, b), r.Kubeconfig)
			}
		})
	}
}

func TestPauseAndResume(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(2))
	pid := planePID(t, b)
	for range 2 {
		must(t, b.Pause(t.Context(), "demo"))
		b.expectStates(t, "n1 Paused", "n2 Paused")
		info, err := b.Inspect(t.Context(), "demo")
		must(t, err)
		if info.Phase != cluster.PhasePaused {
			t.Errorf("phase is %s, want Paused", info.Phase)
		}
	}
	for range 2 {
		must(t, b.Resume(t.Context(), "demo"))
		b.expectStates(t, "n1 Running", "n2 Running")
		info, err := b.Inspect(t.Context(), "demo")
		must(t, err)
		if info.Phase != cluster.PhaseReady {
			t.Errorf("phase is %s, want Ready", info.Phase)
		}
	}
	if now := planePID(t, b); now != pid {
		t.Errorf("control plane is process %d, was %d", now, pid)
	}
}

func TestPauseAndResumeOfAStoppedCluster(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	must(t, b.Stop(t.Context(), "demo"))
	for op, verb := range map[string]func(context.Context, string) error{"pause": b.Pause, "resume": b.Resume} {
		err := verb(t.Context(), "demo")
		var said *cluster.Error
		if !errors.As(err, &said) || err.Error() != op+" cluster demo: it is stopped" || !strings.Contains(said.Hint, "kl start") {
			t.Errorf("%s: %v", op, describe(err))
		}
	}
}

func TestAPausedClusterGoesUpStopsAndIsRemoved(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	must(t, b.Pause(t.Context(), "demo"))
	b.mustUp(t, request(-1))
	b.expectStates(t, "n1 Running")
	must(t, b.Pause(t.Context(), "demo"))
	must(t, b.Stop(t.Context(), "demo"))
	b.expectStates(t, "n1 Stopped")
	b.mustUp(t, request(-1))
	must(t, b.Pause(t.Context(), "demo"))
	_, err := b.Down(t.Context(), "demo")
	must(t, err)
	b.checkGone(t)
}

func TestNodeVerbs(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(3))
	ctx, l := t.Context(), b.Home.Cluster("demo")
	must(t, b.StopNode(ctx, "demo", "n1"))
	must(t, b.KillNode(ctx, "demo", "n3"))
	b.expectStates(t, "n1 Stopped", "n2 Running", "n3 Stopped")
	for _, n := range []string{"n1", "n3"} {
		if _, err := os.Stat(l.NodeStoppedFile(n)); err != nil {
			t.Errorf("%s is not known to be off on purpose: %v", n, err)
		}
		must(t, b.StartNode(ctx, "demo", n))
		if _, err := os.Stat(l.NodeStoppedFile(n)); err == nil {
			t.Errorf("%s runs, but is said to be off on purpose", n)
		}
	}
	b.expectStates(t, "n1 Running", "n2 Running", "n3 Running")

	must(t, b.PartitionNode(ctx, "demo", "n2"))
	if _, err := os.Stat(l.NodePartitionFile("n2")); err != nil {
		t.Error(err)
	}
	for range 2 {
		must(t, b.HealNode(ctx, "demo", "n2"))
		if _, err := os.Stat(l.NodePartitionFile("n2")); err == nil {
			t.Error("n2 is still partitioned")
		}
	}
	for _, verb := range []func() error{
		func() error { return b.StopNode(ctx, "demo", "n9") },
		func() error { return b.RemoveNode(ctx, "demo", "n9", host.RemoveOptions{}) },
	} {
		var e *cluster.Error
		if err := verb(); !errors.As(err, &e) || e.Node != "n9" || e.Hint == "" {
			t.Errorf("a node that does not exist gives %v", err)
		}
	}
}

func TestNodesComeAndGo(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(4))
	ctx := t.Context()
	must(t, b.RemoveNode(ctx, "demo", "n2", host.RemoveOptions{DrainTimeout: time.Minute}))
	must(t, b.RemoveNode(ctx, "demo", "n4", host.RemoveOptions{Force: true}))
	if want := []string{
		"drain n2 --ignore-daemonsets --delete-emptydir-data --force --timeout=1m0s", "delete node n2 --ignore-not-found",
		"delete node n4 --ignore-not-found",
	}; !slices.Equal(b.kubectl, want) {
		t.Errorf("kubectl ran %q, want %q", b.kubectl, want)
	}
	b.expectStates(t, "n1 Running", "n3 Running")
	b.mustUp(t, request(-1))
	b.expectStates(t, "n1 Running", "n3 Running")

	o := host.UpOptions{Timeout: time.Minute}
	names, err := b.AddNodes(ctx, "demo", cluster.NodeGroup{Count: 1, CPUs: "1", Labels: map[string]string{"a": "b"}}, o)
	must(t, err)
	if !slices.Equal(names, []string{"n2"}) {
		t.Errorf("added %v, want n2: the first free name", names)
	}
	names, err = b.AddNodes(ctx, "demo", cluster.NodeGroup{Count: 1, Names: []string{"web"}}, o)
	must(t, err)
	if !slices.Equal(names, []string{"web"}) {
		t.Errorf("added %v, want web", names)
	}
	b.expectStates(t, "n1 Running", "n2 Running", "n3 Running", "web Running")
	nodes, err := b.fake.List(ctx, "demo")
	must(t, err)
	if nodes[1].MilliCPUs != 1000 || nodes[1].Labels["a"] != "b" {
		t.Errorf("n2 is %+v", nodes[1])
	}
	if _, err := b.AddNodes(ctx, "demo", cluster.NodeGroup{Count: 1, Names: []string{"web"}}, o); !errors.Is(err, cluster.ErrNodeExists) {
		t.Errorf("a taken name gives %v", err)
	}
	if _, err := b.AddNodes(ctx, "demo", cluster.NodeGroup{}, o); err == nil {
		t.Error("no nodes are added without complaint")
	}
}
