package host_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/config"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/statefile"
)

// phased is a cluster of three nodes, and a Spec that takes every phase of Apply to reach.
type phased struct {
	*bench
	want  cluster.Spec
	begin func(phase string) error // called as a phase begins; an error makes it fail

	beats atomic.Int64

	mu    sync.Mutex
	order []string
}

func newPhased(t *testing.T) *phased {
	t.Helper()
	p := &phased{bench: newBench(t), begin: func(string) error { return nil }}
	p.fake.Commands = map[string]func(context.Context, cluster.Node, cluster.ExecSpec) int{
		"/bin/sh": func(context.Context, cluster.Node, cluster.ExecSpec) int { return 0 },
	}
	start := cluster.DefaultSpec()
	start.Name, start.Nodes = "demo", []cluster.NodeGroup{{Count: 3}}
	if _, err := p.Apply(t.Context(), start, host.UpOptions{}); err != nil {
		t.Fatal(describe(err))
	}
	p.want = start
	p.want.Ephemeral = true
	p.want.Containerd.Mirrors = map[string][]string{"docker.io": {"https://mirror.example"}}
	p.want.Nodes = []cluster.NodeGroup{
		{Count: 2, Labels: map[string]string{"tier": "web"}, Taints: []string{"a=b:NoSchedule"}}, {Count: 1, Names: []string{"extra"}},
	}
	p.Kubectl = func(_ context.Context, _ cluster.Layout, out io.Writer, args ...string) error {
		if p.answers(out, args) {
			return nil
		}
		if args[0] == "get" { // each time a newer heartbeat
			_, err := fmt.Fprintf(out, "True %d", p.beats.Add(1))
			return err
		}
		if err := p.phase("kubectl " + args[0]); err != nil {
			_, _ = io.WriteString(out, "first line\nkubectl says why")
			return err
		}
		return nil
	}
	p.fake.Hook = func(_ context.Context, op string, n cluster.Node) error {
		if op == "exec" {
			return p.phase("restart programs")
		}
		return p.phase(strings.TrimSpace(op + " " + n.Name))
	}
	record := p.Events
	p.Events = func(e cluster.Event) {
		record(e)
		if e.State == cluster.StepStarted && (e.Step == cluster.StepStopControlPlane || e.Step == cluster.StepControlPlane) {
			_ = p.phase(e.Step)
		}
	}
	return p
}

// phase notes a phase the first time that it begins.
func (p *phased) phase(name string) error {
	p.mu.Lock()
	known := slices.Contains(p.order, name)
	if !known {
		p.order = append(p.order, name)
	}
	p.mu.Unlock()
	if known {
		return nil
	}
	return p.begin(name)
}

func TestApplyPhases(t *testing.T) {
	p := newPhased(t)
	r, err := p.Apply(t.Context(), p.want, host.UpOptions{})
	if err != nil {
		t.Fatal(describe(err))
	}
	if r.Running || r.Nodes != 3 {
		t.Errorf("result is %+v", r)
	}
	order := slices.DeleteFunc(p.order, func(phase string) bool { // which run beside the control plane's start
		return phase == "prepare" || phase == "create extra"
	})
	want := []string{
		"stop control plane", "control plane", "restart programs",
		"kubectl drain", "delete n3", "kubectl delete", "kubectl label", "kubectl taint",
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
	p.expectStates(t, "n1 Running", "n2 Running", "extra Running")
	var notes []string
	for _, e := range p.events {
		if e.State == cluster.StepNote {
			notes = append(notes, e.Message)
		}
	}
	for _, want := range []string{"change ephemeral: false → true (control plane)", "change nodes[0].count: 3 → 2 (nodes)"} {
		if !slices.Contains(notes, want) {
			t.Errorf("no note %q in %q", want, notes)
		}
	}
	// The second time there is nothing to do.
	p.order = nil
	if r, err := p.Apply(t.Context(), p.want, host.UpOptions{}); err != nil || !r.Running || len(p.order) != 0 {
		t.Errorf("applying it again ran %q: %+v, %v", p.order, r, err)
	}
}

// The lock is held from the first phase to the last: a command that comes during the first runs after the last.
func TestApplyHoldsTheLock(t *testing.T) {
	p := newPhased(t)
	path := p.Home.Cluster("demo").LockFile()
	var first os.FileInfo
	second := make(chan error, 1)
	p.begin = func(phase string) error {
		if l, err := statefile.TryLock(path); !errors.Is(err, statefile.ErrLocked) {
			l.Unlock()
			t.Errorf("the lock is free in phase %q: %v", phase, err)
		}
		file, err := os.Open(path) // kept open, so that no other file can be taken for it
		if err != nil {
			return err
		}
		t.Cleanup(func() { file.Close() })
		info, err := file.Stat()
		switch {
		case err != nil:
			return err
		case first == nil:
			first = info
			go func() { second <- p.StopNode(context.WithoutCancel(t.Context()), "demo", "n1") }()
		case phase != "stop n1" && !os.SameFile(first, info): // which is the other command's
			t.Errorf("the lock was given back before phase %q", phase)
		}
		return nil
	}
	if _, err := p.Apply(t.Context(), p.want, host.UpOptions{}); err != nil {
		t.Fatal(describe(err))
	}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	if last := p.order[len(p.order)-1]; last != "stop n1" {
		t.Errorf("the other command ran before the end: %q", p.order)
	}
}

func TestApplyEndsWithThePhaseThatFails(t *testing.T) {
	tests := []struct {
		phase  string
		states []string
		want   string
	}{
		{"kubectl drain", []string{"n1 Running", "n2 Running", "n3 Running"}, "drain node on node n3: broken"},
		{"delete n3", []string{"n1 Running", "n2 Running", "n3 Running"}, "remove node on node n3"},
		{"kubectl delete", []string{"n1 Running", "n2 Running"}, "delete Node object on node n3: broken"},
		{"create extra", []string{"n1 Running", "n2 Running"}, "make node on node extra"},
		{"restart programs", []string{"n1 Running", "n2 Running", "n3 Running"}, "restart programs on node"},
		{"kubectl label", []string{"n1 Running", "n2 Running", "extra Running"}, "label nodes n1, n2: broken"},
		{"kubectl taint", []string{"n1 Running", "n2 Running", "extra Running"}, "taint nodes n1, n2: broken"},
	}
	for _, tt := range tests {
		t.Run(tt.phase, func(t *testing.T) {
			p := newPhased(t)
			p.begin = func(phase string) error {
				if phase == tt.phase {
					return errors.New("broken")
				}
				return nil
			}
			_, err := p.Apply(t.Context(), p.want, host.UpOptions{Timeout: time.Minute})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error is %v, want %q in it", err, tt.want)
			}
			var e *cluster.Error
			if strings.HasPrefix(tt.phase, "kubectl") && (!errors.As(err, &e) || !slices.Contains(e.Log, "kubectl says why")) {
				t.Errorf("what kubectl said is lost: %s", describe(err))
			}
			if last := p.order[len(p.order)-1]; last != tt.phase && tt.phase != "create extra" && tt.phase != "restart programs" {
				t.Errorf("it went on after %q: %q", tt.phase, p.order)
			}
			p.expectStates(t, tt.states...)
		})
	}
}

func TestApplyRefusesWhatNeedsANewCluster(t *testing.T) {
	p := newPhased(t)
	p.want.Networking.PodCIDR = "10.200.0.0/16"
	var problems config.Problems
	if _, err := p.Apply(t.Context(), p.want, host.UpOptions{}); !errors.As(err, &problems) {
		t.Errorf("error is %v", err)
	}
	if len(p.order) != 0 {
		t.Errorf("something was done: %q", p.order)
	}
}

// A file that says what node remove and node add have made of a cluster changes nothing.
func TestApplyAfterNodeVerbs(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, cluster.Spec{Name: "demo", Nodes: []cluster.NodeGroup{{Count: 1}, {Count: 1}}})
	must(t, b.RemoveNode(t.Context(), "demo", "n2", host.RemoveOptions{}))
	small := cluster.NodeGroup{Count: 1, CPUs: "1", Memory: "1Gi"}
	if _, err := b.AddNodes(t.Context(), "demo", small, host.UpOptions{}); err != nil {
		t.Fatal(describe(err))
	}
	want := cluster.DefaultSpec()
	want.Name, want.Nodes = "demo", []cluster.NodeGroup{{Count: 1}, small}
	history := len(b.fake.History())
	r, err := b.Apply(t.Context(), want, host.UpOptions{})
	if err != nil || !r.Running || len(b.fake.History()) != history {
		t.Errorf("applying what there is: %+v, %v, %q", r, err, b.fake.History()[history:])
	}
	b.expectStates(t, "n1 Running", "n2 Running")
	spec, err := cluster.ReadSpec(b.Home.Cluster("demo"))
	must(t, err)
	want.Nodes[0].Ports = []cluster.Port{{Host: spec.Kubernetes.APIServerPort, Node: 80}}
	var problems config.Problems
	if _, err := b.Apply(t.Context(), want, host.UpOptions{}); !errors.As(err, &problems) || !strings.Contains(err.Error(), "is taken by kubernetes.apiServerPort already") {
		t.Errorf("publishing the API's port: %v", err)
	}
}
