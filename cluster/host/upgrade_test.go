package host_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
)

// versions are the Kubernetes in the payloads of these tests, by hash.
func versions(sha string) (string, error) {
	v, ok := map[string]string{"fake": "v1.36.3", "newer": "v1.37.2"}[sha]
	if !ok {
		return "", errors.New("no such payload")
	}
	return v, nil
}

// newUpgradeBench is a machine with a running cluster of two nodes that an older kl has made. written says whether that one wrote
// down its version.
func newUpgradeBench(t *testing.T, written bool) *bench {
	t.Helper()
	b := newBench(t)
	b.KubernetesOf = versions
	if written {
		b.Kubernetes = "v1.36.3"
	}
	b.mustUp(t, request(2))
	return b
}

// upgrade replaces the kl of the machine by a newer one.
func (b *bench) upgrade(t *testing.T) {
	t.Helper()
	b.Kubernetes = "v1.37.2"
	b.Payload = func(ctx context.Context) (cluster.Payload, error) {
		p, err := clustertest.PlanePayload(ctx)
		p.SHA = "newer"
		return p, err
	}
	clustertest.Plane{Version: "v1.37.2"}.Install(t, b.Home)
	b.mu.Lock()
	b.events = nil
	b.mu.Unlock()
}

// notes are the lines that events say beside the steps.
func (b *bench) notes() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []string
	for _, e := range b.events {
		if e.State == cluster.StepNote {
			lines = append(lines, e.Message)
		}
	}
	return lines
}

func TestUpUpgrades(t *testing.T) {
	for _, tt := range []struct {
		name             string
		written, stopped bool
	}{
		{"a running cluster", true, false},
		{"a stopped cluster", true, true},
		{"a running cluster of a kl that wrote no version down", false, false},
		{"a stopped cluster of a kl that wrote no version down", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newUpgradeBench(t, tt.written)
			if tt.stopped {
				if err := b.Stop(t.Context(), "demo"); err != nil {
					t.Fatal(err)
				}
			}
			before := planePID(t, b)
			began := len(b.fake.History())
			b.upgrade(t)
			r := b.mustUp(t, request(-1))
			if r.Upgraded != "v1.36.3" || r.Kubernetes != "v1.37.2" || r.Running {
				t.Errorf("result is %+v", r)
			}
			if diff := cmp.Diff([]string{"Kubernetes v1.36.3 → v1.37.2"}, b.notes()); diff != "" {
				t.Errorf("notes:\n%s", diff)
			}
			if pid := planePID(t, b); pid == 0 || pid == before {
				t.Errorf("the control plane is process %d, was %d", pid, before)
			}
			want := []string{"prepare demo", "stop demo/n1", "upgrade demo/n1", "start demo/n1", "stop demo/n2", "upgrade demo/n2", "start demo/n2"}
			if tt.stopped {
				want = slices.DeleteFunc(want, func(op string) bool { return strings.HasPrefix(op, "stop") })
			}
			got := b.fake.History()[began:]
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what was done to nodes:\n%s", diff)
			}

			b.upgrade(t)
			if r := b.mustUp(t, request(-1)); !r.Running || r.Upgraded != "" || len(b.notes()) > 0 {
				t.Errorf("the next up: %+v, notes %q", r, b.notes())
			}
		})
	}
}

// TestUpGoesOnWithAnUpgrade interrupts an upgrade at a node: the next up upgrades it.
func TestUpGoesOnWithAnUpgrade(t *testing.T) {
	for _, op := range []string{"stop", "upgrade", "start"} {
		t.Run(op, func(t *testing.T) {
			b := newUpgradeBench(t, true)
			b.upgrade(t)
			b.fake.Hook = func(_ context.Context, done string, n cluster.Node) error {
				if done == op && n.Name == "n2" {
					return errors.New("interrupted")
				}
				return nil
			}
			if _, err := b.Up(t.Context(), request(-1), host.UpOptions{Timeout: time.Minute}); err == nil {
				t.Fatal("up succeeded")
			}
			b.fake.Hook = nil
			b.mustUp(t, request(-1))
			nodes, err := b.fake.List(t.Context(), "demo")
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range nodes {
				if n.PayloadSHA != "newer" || n.State != cluster.NodeRunning {
					t.Errorf("%s is of payload %s and %s", n.Name, n.PayloadSHA, n.State)
				}
			}
		})
	}
}

// TestUpRefusesWhatIsGone: what the newer Kubernetes does not know any more is found while the older one runs on.
func TestUpRefusesWhatIsGone(t *testing.T) {
	b := newBench(t)
	b.KubernetesOf, b.Kubernetes = versions, "v1.36.3"
	s := request(1)
	s.Kubernetes.ExtraArgs = map[string]map[string]string{"kube-controller-manager": {"concurrent-service-syncs": "2"}}
	b.mustUp(t, s)
	before, began := planePID(t, b), len(b.fake.History())
	b.upgrade(t)
	clustertest.Plane{Refuse: "unknown flag: --concurrent-service-syncs"}.Install(t, b.Home)
	_, err := b.Up(t.Context(), request(-1), host.UpOptions{Timeout: time.Minute})
	if text := describe(err); !strings.Contains(text, "upgrade cluster demo from Kubernetes v1.36.3 to v1.37.2: unknown flag") || !strings.Contains(text, "nothing has changed") {
		t.Errorf("error: %s", text)
	}
	if pid := planePID(t, b); pid != before || len(b.fake.History()) != began {
		t.Errorf("process %d, was %d; %v", pid, before, b.fake.History()[began:])
	}
	if data, err := os.ReadFile(b.Home.Cluster("demo").KubernetesFile()); err != nil || string(data) != "v1.36.3\n" {
		t.Errorf("the data is of %q, %v", data, err)
	}
}

func TestUpRefusesANewerCluster(t *testing.T) {
	for _, tt := range []struct {
		name, ours string
		refused    bool
	}{
		{"a newer minor version", "v1.35.9", true},
		{"a newer patch", "v1.36.1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newUpgradeBench(t, true)
			if err := b.Stop(t.Context(), "demo"); err != nil {
				t.Fatal(err)
			}
			b.Kubernetes = tt.ours
			_, err := b.Up(t.Context(), request(-1), host.UpOptions{Timeout: time.Minute})
			want := "start cluster demo: its data is of Kubernetes v1.36.3, which this kl with " + tt.ours + " cannot read"
			if tt.refused && (err == nil || err.Error() != want) || !tt.refused && err != nil {
				t.Errorf("error: %v", err)
			}
			if tt.refused && planePID(t, b) != 0 {
				t.Error("a control plane runs")
			}
		})
	}
}

// TestUpNamesADamagedVersion: nobody guesses what data is of.
func TestUpNamesADamagedVersion(t *testing.T) {
	b := newUpgradeBench(t, true)
	file := b.Home.Cluster("demo").KubernetesFile()
	if err := os.WriteFile(file, []byte("\x00\x01"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := b.Up(t.Context(), request(-1), host.UpOptions{Timeout: time.Minute})
	if err == nil || !strings.HasPrefix(err.Error(), "read "+file+": ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error: %v", err)
	}
}
