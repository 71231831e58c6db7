package cmd

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster/host"
)

func TestStatusShowsCrashes(t *testing.T) {
	m := newMachine(t)
	m.must("up", "--nodes", "0")
	pid, err := host.ControlPlanePID(m.env.Home.Cluster("kl"))
	if err != nil || syscall.Kill(pid, syscall.SIGKILL) != nil {
		t.Fatalf("kill control plane %d: %v", pid, err)
	}
	out := ""
	err = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		out = m.must("status")
		return strings.Contains(out, "crashes "), nil
	})
	if err != nil || !strings.Contains(out, "crashes     1, the last one 0s ago: killed (SIGKILL)\n  | fake control plane starts\n") {
		t.Errorf("status is %v:\n%s", err, out)
	}
	if out := m.must("status", "-o", "json"); !strings.Contains(out, `"reason": "killed (SIGKILL)"`) || !strings.Contains(out, `"count": 1`) {
		t.Errorf("status is:\n%s", out)
	}
}

func TestKubectlOfAClusterThatIsOff(t *testing.T) {
	m := newMachine(t)
	m.must("up", "--nodes", "0")
	m.must("kubectl", "get", "pods")
	m.must("stop")
	_, stderr, code := m.run("kubectl", "get", "pods")
	if want := "kl: reach cluster kl: its control plane is stopped\n    'kl start --name kl' starts the cluster\n"; code != 1 || stderr != want {
		t.Errorf("exit code %d, %q, want %q", code, stderr, want)
	}
	for _, args := range [][]string{
		{}, {"help"}, {"config", "view"}, {"version", "--client"}, {"get", "--help"}, {"create", "ns", "x", "--dry-run=client", "-o", "yaml"},
	} {
		m.must(append([]string{"kubectl"}, args...)...)
	}
}
