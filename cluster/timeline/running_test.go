package timeline

import (
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
)

// TestRunning checks that what a running cluster says about its start becomes a chart: components and nodes with what they waited for, without
// what only the command knew, and without nodes that came later or had run before.
func TestRunning(t *testing.T) {
	s := newStart()
	started := func(after time.Duration) cluster.NodeProgram {
		p := s.Programs["n1"]
		p.Started = s.Status.Started.Add(after)
		return p
	}
	s.Status.Nodes = append(s.Status.Nodes, cluster.NodeStatus{Name: "late"}, cluster.NodeStatus{Name: "older"}, cluster.NodeStatus{Name: "silent"})
	s.Programs["late"], s.Programs["older"] = started(time.Hour), started(-time.Minute)
	got := text(t, Running("Last start", s.Status, s.Programs))
	for _, want := range []string{
		"Last start\n", "\ncontrol plane\n", "  etcd ", "  kube-apiserver ", "← etcd\n", "\nn1\n", "  kubelet ", "← credentials +2\n", "\nDNS\n", "  DNS answers ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	for _, absent := range []string{"\nhost\n", "late", "older", "silent", "broken", "Ready"} {
		if strings.Contains(got, absent) {
			t.Errorf("%q in:\n%s", absent, got)
		}
	}
	if c := Running("Last start", cluster.Status{}, nil); len(c.Groups) != 0 {
		t.Errorf("groups of nothing: %+v", c.Groups)
	}
}
