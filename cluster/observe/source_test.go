package observe_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/cluster/observe/observetest"
	"github.com/klkube/kl/cluster/policy"
)

// until waits for a snapshot that satisfies want.
func until(t *testing.T, src *observe.Source, what string, want func(*observe.Snapshot) bool) *observe.Snapshot {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		snap, changed := src.Snapshot()
		if want(snap) {
			return snap
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("waiting for %s: connection %+v, loading %v, forbidden %v, %d pods", what, snap.Conn, snap.Loading, snap.Forbidden, len(snap.Pods))
		}
	}
}

func run(t *testing.T, c observe.Config) *observe.Source {
	t.Helper()
	c.MetricsEvery, c.ProbeEvery = 100*time.Millisecond, 100*time.Millisecond
	src, err := observe.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = src.Run(ctx) // ends only with ctx
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return src
}

func TestSourceFollowsChanges(t *testing.T) {
	now := time.Now()
	objects := observetest.Synthetic(3, 20, now)
	srv := observetest.Start(t, objects...)
	srv.Usage(observetest.SyntheticUsage(objects))
	src := run(t, observe.Config{REST: srv.Config(), Name: "test"})
	snap := until(t, src, "the first lists", (*observe.Snapshot).Synced)
	if len(snap.Nodes) != 3 || len(snap.Pods) != 20 || len(snap.Deployments) != 2 || snap.Version != "v1.36.3" {
		t.Errorf("got %d nodes, %d pods, %d deployments, version %q", len(snap.Nodes), len(snap.Pods), len(snap.Deployments), snap.Version)
	}
	pod := snap.Pods[7].DeepCopy()
	srv.Remove(pod)
	after := until(t, src, "a pod to go", func(s *observe.Snapshot) bool { return len(s.Pods) == 19 })
	if len(snap.Pods) != 20 {
		t.Error("an old snapshot changed")
	}
	if after.Pods[7].Name == pod.Name {
		t.Errorf("pod %s is still there", pod.Name)
	}
	until(t, src, "a history of use", func(s *observe.Snapshot) bool { return len(s.Usage.Node("node-0001")) >= 3 })
}

func TestSourceSurvivesLostServer(t *testing.T) {
	srv := observetest.Start(t, observetest.Synthetic(2, 10, time.Now())...)
	src := run(t, observe.Config{REST: srv.Config()})
	until(t, src, "the first lists", (*observe.Snapshot).Synced)
	srv.Down()
	lost := until(t, src, "the loss", (*observe.Snapshot).Stale)
	if len(lost.Pods) != 10 || lost.Conn.Err == "" {
		t.Errorf("after the loss: %d pods, error %q", len(lost.Pods), lost.Conn.Err)
	}
	d := lost.Deployments[0].DeepCopy()
	d.Status.ReadyReplicas = 3
	srv.Set(d) // while the server is down
	srv.Up()
	until(t, src, "what changed while the server was down", func(s *observe.Snapshot) bool {
		return s.Conn.State == observe.Live && s.Deployments[0].Status.ReadyReplicas == 3
	})
}

func TestSourceWithoutRights(t *testing.T) {
	srv := observetest.Start(t, observetest.Synthetic(1, 10, time.Now())...)
	srv.Refuse("list", "nodes")
	srv.Refuse("list", "pods")
	src := run(t, observe.Config{REST: srv.Config()})
	snap := until(t, src, "the first lists", (*observe.Snapshot).Synced)
	if len(snap.Forbidden) != 2 || snap.Forbidden[0] != "nodes" || snap.Forbidden[1] != "pods" {
		t.Errorf("forbidden: %v", snap.Forbidden)
	}
	if len(snap.Deployments) != 1 || snap.Stale() {
		t.Errorf("%d deployments, connection %+v", len(snap.Deployments), snap.Conn)
	}
	until(t, src, "an error about metrics", func(s *observe.Snapshot) bool { return s.Usage != nil && s.Usage.Err != "" })
}

// TestSourceFallsBackToOneNamespace observes with the rights to one namespace: all of that is read, and the server is left in peace.
func TestSourceFallsBackToOneNamespace(t *testing.T) {
	objects := observetest.Synthetic(2, 20, time.Now())
	var mine []string
	for _, o := range objects {
		if p, ok := o.(*corev1.Pod); ok && (len(mine) == 0 || p.Namespace == mine[0]) {
			mine = append(mine, p.Namespace)
		}
	}
	srv := observetest.Start(t, objects...)
	srv.RefuseOutside(mine[0])
	srv.Refuse("list", "events")
	src := run(t, observe.Config{REST: srv.Config(), Fallback: mine[0]})
	snap := until(t, src, "the namespace", func(s *observe.Snapshot) bool { return s.Synced() && len(s.Pods) > 0 })
	if len(snap.Pods) != len(mine) || snap.Only != mine[0] {
		t.Errorf("%d pods of namespace %q, want %d of %q", len(snap.Pods), snap.Only, len(mine), mine[0])
	}
	if d := cmp.Diff([]string{"nodes", "namespaces", "events"}, snap.Forbidden); d != "" {
		t.Errorf("refused (-want +got):\n%s", d)
	}
	time.Sleep(3 * time.Second) // an informer would ask again after a second at most
	for request, n := range srv.Refusals() {
		// One for all namespaces, and one for this one.
		if strings.HasPrefix(request, "list ") && n > 1 && request != "list events" || n > 2 {
			t.Errorf("%q was refused %d times within seconds", request, n)
		}
	}
	src.Narrow("elsewhere")
	until(t, src, "the refusal of another namespace", func(s *observe.Snapshot) bool { return slices.Contains(s.Forbidden, "pods") && len(s.Pods) == 0 })
	src.Narrow(mine[0])
	until(t, src, "the namespace again", func(s *observe.Snapshot) bool { return s.Synced() && len(s.Pods) == len(mine) })
}

func TestSourceMeasuresTraffic(t *testing.T) {
	srv := observetest.Start(t, observetest.Synthetic(2, 10, time.Now())...)
	began, asked := time.Now(), time.Duration(0)
	srv.Kubelet(func(node string) string { // 2 kB in, 1 kB out with every second of the kubelet's clock
		if node != "node-0000" {
			return "{}"
		}
		asked += time.Second
		network := fmt.Sprintf(`{"time": %q, "rxBytes": %d, "txBytes": %d}`, began.Add(asked).Format(time.RFC3339Nano), 2000*int(asked.Seconds()), 1000*int(asked.Seconds()))
		return `{"node": {"network": ` + network + `}, "pods": [{"podRef": {"name": "web", "namespace": "shop"}, "network": ` + network + `}, {"podRef": {"name": "host", "namespace": "shop"}}]}`
	})
	src := run(t, observe.Config{REST: srv.Config()})
	snap := until(t, src, "two rates", func(s *observe.Snapshot) bool { return len(s.Traffic.Pod("shop", "web")) >= 2 })
	want := observe.Rate{In: 2000, Out: 1000}
	if got := snap.Traffic.Pod("shop", "web")[0]; got != want {
		t.Errorf("pod: %+v", got)
	}
	if got := snap.Traffic.Node("node-0000"); len(got) == 0 || got[0] != want {
		t.Errorf("node: %+v", got)
	}
	if snap.Traffic.Note != "" || snap.Traffic.Pod("shop", "host") != nil {
		t.Errorf("note %q, pod of the host's network %v", snap.Traffic.Note, snap.Traffic.Pod("shop", "host"))
	}
	srv.Refuse("get", "nodes/proxy")
	until(t, src, "the refusal", func(s *observe.Snapshot) bool { return strings.Contains(s.Traffic.Note, "not allowed") })
}

func TestSourceOfOneNamespace(t *testing.T) {
	srv := observetest.Start(t, observetest.Synthetic(1, 200, time.Now())...)
	src := run(t, observe.Config{REST: srv.Config(), Namespace: "team-01"})
	snap := until(t, src, "the first lists", (*observe.Snapshot).Synced)
	if len(snap.Pods) != 100 || snap.Pods[0].Namespace != "team-01" {
		t.Errorf("%d pods, first of %s", len(snap.Pods), snap.Pods[0].Namespace)
	}
}

func TestSourceOfStoppedCluster(t *testing.T) {
	home := cluster.Home(t.TempDir())
	l := home.Cluster("c")
	if err := os.MkdirAll(filepath.Dir(l.AuditLog()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.AuditLog(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	srv := observetest.Start(t)
	srv.Down()
	src := run(t, observe.Config{REST: srv.Config(), Layout: &l})
	snap := until(t, src, "its state", func(s *observe.Snapshot) bool { return s.KL != nil && s.Disk != nil && s.Conn.Err != "" })
	if snap.KL.Phase != cluster.PhaseStopped || snap.Disk.AuditLog == "" || snap.Disk.Secrets != (observe.Secrets{}) || snap.Conn.State != observe.Connecting {
		t.Errorf("phase %s, disk %+v, connection %+v", snap.KL.Phase, snap.Disk, snap.Conn)
	}
}

func TestSourceFollowsVerdicts(t *testing.T) {
	denial := make(chan policy.Denial)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(cluster.Status{Phase: cluster.PhaseReady, Nodes: []cluster.NodeStatus{{Name: "n1", Connected: true}, {Name: "n2"}}})
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("GET /v1/nodes/n1"+policy.CountersPath, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(policy.Counters{Node: "n1", Policies: []policy.Counter{{Policy: "a/p", Denied: 2}}})
	})
	mux.HandleFunc("GET /v1/nodes/n1"+policy.DenialsPath, func(w http.ResponseWriter, r *http.Request) { stream(w, r, denial) })
	l, _ := statusSocket(t, mux)
	src := run(t, observe.Config{REST: observetest.Start(t).Config(), Layout: &l})
	until(t, src, "counters", func(s *observe.Snapshot) bool {
		_, denied := s.Verdicts.Policy("a/p")
		return s.KL != nil && s.KL.Phase == cluster.PhaseReady && denied == 2
	})
	sent := time.Now()
	for i := range 3 {
		denial <- policy.Denial{Seq: uint64(i + 1), Time: sent.Add(time.Duration(i)), Node: "n1", From: "a/x", To: "a/y"}
	}
	snap := until(t, src, "denials", func(s *observe.Snapshot) bool { return s.Verdicts != nil && len(s.Verdicts.Denials) == 3 })
	if snap.Verdicts.Denials[2].Seq != 3 {
		t.Errorf("denials: %+v", snap.Verdicts.Denials)
	}
	denial <- policy.Denial{Seq: 2, Time: sent.Add(1), Node: "n1", Packets: 7} // repeated
	denial <- policy.Denial{Seq: 4, Time: sent.Add(time.Second), Node: "n1"}
	denial <- policy.Denial{Seq: 1, Time: sent.Add(time.Minute), Node: "n1"} // of an agent that has restarted
	snap = until(t, src, "two more", func(s *observe.Snapshot) bool { return len(s.Verdicts.Denials) == 5 })
	if snap.Verdicts.Denials[1].Packets != 7 {
		t.Errorf("a repeated denial did not replace the old one: %+v", snap.Verdicts.Denials)
	}
}

func TestActions(t *testing.T) {
	srv := observetest.Start(t, observetest.Synthetic(1, 10, time.Now())...)
	act, err := observe.NewActions(srv.Config())
	if err != nil {
		t.Fatal(err)
	}
	ref := observe.Ref{Kind: observe.KindDeployment, Namespace: "team-00", Name: "app-000"}
	get := func() *appsv1.Deployment {
		return srv.Object("deployments", "team-00", "app-000").(*appsv1.Deployment)
	}
	ctx := t.Context()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name string
		do   func() error
		ok   func(*appsv1.Deployment) bool
	}{
		{"restart", func() error { return act.Restart(ctx, ref, at, map[string]string{"a": "b"}) }, func(d *appsv1.Deployment) bool {
			return d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] == "2026-01-02T03:04:05Z"
		}},
		{"pause", func() error { return act.Pause(ctx, ref, true) }, func(d *appsv1.Deployment) bool { return d.Spec.Paused }},
		{"resume", func() error { return act.Pause(ctx, ref, false) }, func(d *appsv1.Deployment) bool { return !d.Spec.Paused }},
		{"scale", func() error { return act.Scale(ctx, ref, 4) }, func(d *appsv1.Deployment) bool { return *d.Spec.Replicas == 4 }},
		{"set image", func() error { return act.SetImage(ctx, ref, "main", "example.test/new:v9") }, func(d *appsv1.Deployment) bool {
			return len(d.Spec.Template.Spec.Containers) == 1 && d.Spec.Template.Spec.Containers[0].Image == "example.test/new:v9"
		}},
		{"undo", func() error { return act.Undo(ctx, ref, observe.Revision{Name: "app-000-5f00001"}) }, func(d *appsv1.Deployment) bool {
			return d.Spec.Template.Spec.Containers[0].Image == "example.test/app-000:v1" && d.Spec.Template.Labels["pod-template-hash"] == "" &&
				d.Spec.Template.Annotations == nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(); err != nil {
				t.Fatal(err)
			}
			if d := get(); !tt.ok(d) {
				t.Errorf("after it: %+v", d.Spec)
			}
		})
	}
	srv.Refuse("patch", "deployments")
	if err := act.Scale(ctx, ref, 1); err == nil || *get().Spec.Replicas != 4 {
		t.Errorf("a refused scale: %v", err)
	}
}

func TestWatchTable(t *testing.T) {
	objects := observetest.Synthetic(1, 10, time.Now())
	srv := observetest.Start(t, objects...)
	act, err := observe.NewActions(srv.Config())
	if err != nil {
		t.Fatal(err)
	}
	list, err := act.Resources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var pods observe.Resource
	for _, r := range list {
		if r.Label() == "pods" {
			pods = r
		}
	}
	if pods.Kind != "Pod" || !pods.Namespaced || len(pods.Short) != 1 {
		t.Fatalf("resources: %+v", list)
	}
	var seen []int
	err = act.WatchTable(t.Context(), pods, "", func(tab observe.Table) bool {
		seen = append(seen, len(tab.Rows))
		if len(seen) == 1 {
			for _, o := range objects {
				if r, err := act.YAML(t.Context(), pods, "team-00", tab.Rows[0].Name); err != nil || r == "" {
					t.Errorf("YAML: %v", err)
				}
				if p, ok := o.(interface{ GetName() string }); ok && p.GetName() == tab.Rows[0].Name {
					go srv.Remove(o)
					break
				}
			}
		}
		return len(seen) < 2
	})
	if err != nil || len(seen) != 2 || seen[0] != 10 || seen[1] != 9 {
		t.Errorf("tables with %v rows, %v", seen, err)
	}
}
