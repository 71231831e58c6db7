package cmd

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

// state returns the phase of the cluster kl and the states of its nodes.
func (m *machine) state() []string {
	m.t.Helper()
	var got struct {
		Phase string
		Nodes []nodeRow
	}
	decode(m.t, m.must("status", "-o", "json"), &got)
	states := []string{got.Phase}
	for _, n := range got.Nodes {
		states = append(states, n.Name+" "+string(n.State))
	}
	return states
}

func TestClusterVerbs(t *testing.T) {
	m := newMachine(t)
	m.must("up", "--nodes", "2")
	for _, step := range []struct {
		verb, printed string
		state         []string
	}{
		{"pause", "Cluster kl is paused.\n", []string{"Paused", "n1 Paused", "n2 Paused"}},
		{"resume", "Cluster kl is running.\n", []string{"Ready", "n1 Running", "n2 Running"}},
		{"resume", "Cluster kl is running.\n", []string{"Ready", "n1 Running", "n2 Running"}},
		{"stop", "Cluster kl is stopped.\n", []string{"Stopped", "n1 Stopped", "n2 Stopped"}},
		{"stop", "Cluster kl is stopped.\n", []string{"Stopped", "n1 Stopped", "n2 Stopped"}},
		{"start", "Cluster kl is up in ", []string{"Ready", "n1 Running", "n2 Running"}},
	} {
		if out := m.must(step.verb); !strings.Contains(out, step.printed) {
			t.Errorf("%s printed %q, want %q", step.verb, out, step.printed)
		}
		if diff := cmp.Diff(step.state, m.state()); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.verb, diff)
		}
	}
	last := func(out string) string {
		lines := strings.Split(strings.TrimSpace(out), "\n")
		return lines[len(lines)-1]
	}
	var event cluster.Event
	decode(t, last(m.must("stop", "-o", "json")), &event)
	if event.Step == "" {
		t.Error("stop -o json prints no events")
	}
	var result struct {
		Result struct {
			Cluster string `json:"cluster"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(last(m.must("start", "-o", "json"))), &result); err != nil || result.Result.Cluster != "kl" {
		t.Errorf("start -o json: result %+v, error %v", result, err)
	}
}

func TestNodeVerbs(t *testing.T) {
	m := newMachine(t)
	m.must("up", "--nodes", "3")
	for _, step := range []struct {
		args    []string
		printed string
		state   []string
	}{
		{[]string{"stop", "n2", "n3"}, "Node n2 is stopped.\nNode n3 is stopped.\n", []string{"Ready", "n1 Running", "n2 Stopped", "n3 Stopped"}},
		{[]string{"start", "n2", "n3"}, "Node n2 is running.\nNode n3 is running.\n", []string{"Ready", "n1 Running", "n2 Running", "n3 Running"}},
		{[]string{"kill", "n3"}, "Node n3 is killed.\n", []string{"Ready", "n1 Running", "n2 Running", "n3 Stopped"}},
		{[]string{"partition", "n2"}, "Node n2 is cut off.\n", []string{"Ready", "n1 Running", "n2 Running", "n3 Stopped"}},
		{[]string{"heal", "n2"}, "Node n2 is connected again.\n", []string{"Ready", "n1 Running", "n2 Running", "n3 Stopped"}},
	} {
		if out := m.must(append([]string{"node"}, step.args...)...); out != step.printed {
			t.Errorf("node %v printed %q, want %q", step.args, out, step.printed)
		}
		if diff := cmp.Diff(step.state, m.state()); diff != "" {
			t.Errorf("after node %v (-want +got):\n%s", step.args, diff)
		}
	}
	_, stderr, code := m.run("node", "stop", "n9", "n1")
	if code != exitFailed || !strings.Contains(stderr, "n9") {
		t.Errorf("node stop n9 n1: exit code %d, %s", code, stderr)
	}
	if got := m.state()[1]; got != "n1 Running" {
		t.Errorf("after a failure, the next node was stopped: %s", got)
	}
	if out := m.must("__complete", "node", "start", ""); out != "n1\nn2\nn3\n:4\n" {
		t.Errorf("completion of node start: %q", out)
	}
}
