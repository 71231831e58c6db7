package host_test

import (
	"strings"
	"testing"

	"github.com/klkube/kl/cluster/host"
)

func TestRuntime(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(2))
	find := func(name string) (string, string) {
		t.Helper()
		n, x, err := b.Runtime(t.Context(), "demo", name)
		if err != nil {
			return "", describe(err)
		}
		must(t, x.Close())
		return n.Name, ""
	}
	for name, want := range map[string]string{"": "n1", "n1": "n1", "n2": "n2"} {
		if got, problem := find(name); got != want {
			t.Errorf("node %q: got %q, want %q: %s", name, got, want, problem)
		}
	}
	fails := func(name string, want ...string) {
		t.Helper()
		_, problem := find(name)
		for _, w := range want {
			if !strings.Contains(problem, w) {
				t.Errorf("node %q: %q lacks %q", name, problem, w)
			}
		}
	}
	fails("n9", "n9", "no such node", "kl node list")
	must(t, b.StopNode(t.Context(), "demo", "n1"))
	fails("", "n1", "stopped", "kl node start n1 --name demo")
	if got, problem := find("n2"); got != "n2" {
		t.Errorf("beside a stopped node: %q, %s", got, problem)
	}
	must(t, b.StopNode(t.Context(), "demo", "n2"))
	fails("n2", "stopped", "kl start --name demo")
	must(t, b.RemoveNode(t.Context(), "demo", "n1", host.RemoveOptions{}))
	must(t, b.RemoveNode(t.Context(), "demo", "n2", host.RemoveOptions{}))
	fails("", "demo has no nodes", "kl node add")
}
