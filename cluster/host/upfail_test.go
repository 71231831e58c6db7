package host_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
)

func TestFailedUp(t *testing.T) {
	tests := []struct {
		name  string
		plane clustertest.Plane
		hook  func(ctx context.Context, op string, n cluster.Node) error
		want  string // in the error
		log   string // in its log
	}{
		{
			name: "control plane exits", plane: clustertest.Plane{Exit: "etcd: database is corrupt"},
			want: "run control plane: etcd: database is corrupt", log: "fake control plane starts",
		},
		{name: "component hangs", plane: clustertest.Plane{Hang: "kube-apiserver"}, want: "wait for kube-apiserver: starting: not done within LIMIT"},
		{name: "scheduler does not come up", plane: clustertest.Plane{Hang: cluster.KubeScheduler}, want: "wait for kube-scheduler: starting: not done within LIMIT"},
		{name: "component fails for good", plane: clustertest.Plane{Sick: "etcd"}, want: "run control plane: etcd: it is sick"},
		{name: "node is not ready", plane: clustertest.Plane{Lacking: []string{"n2"}}, want: "wait for node on node n2: it is not ready: container runtime is down"},
		{name: "DNS does not answer", plane: clustertest.Plane{NoDNS: true}, want: "wait for cluster DNS: not done within LIMIT"},
		{
			name: "node cannot be made", want: "make node on node n2: create demo/n2: no space left on device",
			hook: func(_ context.Context, op string, n cluster.Node) error {
				if op == "create" && n.Name == "n2" {
					return errors.New("no space left on device")
				}
				return nil
			},
		},
		{
			name: "image cannot be imported", want: "prepare node image: prepare demo/: no space left on device",
			hook: func(_ context.Context, op string, _ cluster.Node) error {
				if op == "prepare" {
					return errors.New("no space left on device")
				}
				return nil
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := failUp(t, tt.plane, tt.hook, func(limit time.Duration) string { return strings.ReplaceAll(tt.want, "LIMIT", limit.String()) })
			var e *cluster.Error
			if !errors.As(err, &e) || !strings.Contains(strings.Join(e.Log, "\n"), tt.log) {
				t.Errorf("no %q in the log of %v", tt.log, describe(err))
			}
			b.checkGone(t)
		})
	}
}

// failUp runs an up that fails with the error wanted. What it fails at may take a busy machine a while to come to, so that
// it gets more and more time; it is an error if none is enough.
func failUp(t *testing.T, plane clustertest.Plane, hook func(context.Context, string, cluster.Node) error, want func(limit time.Duration) string) (*bench, error) {
	t.Helper()
	for limit := 700 * time.Millisecond; ; limit *= 4 {
		b := newBench(t)
		plane.Install(t, b.Home)
		b.fake.Hook = hook
		_, err := b.Up(t.Context(), request(2), host.UpOptions{Timeout: limit})
		switch {
		case err != nil && strings.Contains(err.Error(), want(limit)):
			return b, err
		case err == nil || limit > 30*time.Second:
			t.Fatalf("error is %v, want %q in it", describe(err), want(limit))
		}
		b.checkGone(t)
	}
}

func TestFailedUpRetains(t *testing.T) {
	b := newBench(t)
	clustertest.Plane{Exit: "etcd: database is corrupt"}.Install(t, b.Home)
	if _, err := b.Up(t.Context(), request(1), host.UpOptions{Retain: true}); err == nil {
		t.Fatal("no error")
	}
	info, err := b.Inspect(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if info.Phase != cluster.PhaseCrashed || !strings.HasPrefix(info.Reason, "etcd: database is corrupt; ") || !strings.Contains(info.Reason, "stays down") {
		t.Errorf("info is %+v", info)
	}
	if left := planes(b.Home.Cluster("demo")); len(left) > 0 {
		t.Errorf("processes are left that would start it again: %q", left)
	}
	clustertest.Plane{}.Install(t, b.Home)
	if r := b.mustUp(t, request(1)); r.Running {
		t.Error("the job was not finished")
	}
}

// A failed up of a cluster that was there before takes away only what is new.
func TestFailedGrowth(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	clustertest.Plane{Lacking: []string{"n2"}}.Install(t, b.Home)
	kill(t, b, planePID(t, b))
	if _, err := b.Up(t.Context(), request(2), host.UpOptions{Timeout: 700 * time.Millisecond}); err == nil {
		t.Fatal("no error")
	}
	if r := b.mustUp(t, request(-1)); r.Nodes != 1 {
		t.Errorf("there are %d nodes", r.Nodes)
	}
	want := []string{"prepare demo", "create demo/n1", "prepare demo", "create demo/n2", "delete demo/n2"}
	if diff := cmp.Diff(want, b.fake.History()); diff != "" {
		t.Error(diff)
	}
}

func TestCancelledUpLeavesNothing(t *testing.T) {
	for _, stage := range []string{"prepare", "create", "wait"} {
		t.Run(stage, func(t *testing.T) {
			b := newBench(t)
			clustertest.Plane{Hang: "etcd"}.Install(t, b.Home)
			interrupted := errors.New("interrupted")
			ctx, cancel := context.WithCancelCause(t.Context())
			b.fake.Hook = func(hookCtx context.Context, op string, n cluster.Node) error {
				if op != stage || n.Name == "n1" {
					return nil
				}
				cancel(interrupted)
				<-hookCtx.Done()
				return hookCtx.Err()
			}
			if stage == "wait" {
				record := b.Events
				b.Events = func(e cluster.Event) {
					record(e)
					if e.Step == cluster.StepControlPlane && e.State == cluster.StepRunning {
						cancel(interrupted)
					}
				}
			}
			_, err := b.Up(ctx, request(2), host.UpOptions{})
			if !errors.Is(err, interrupted) {
				t.Errorf("error is %v", describe(err))
			}
			b.fake.Hook = nil
			b.checkGone(t)
		})
	}
}
