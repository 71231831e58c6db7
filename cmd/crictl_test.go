package cmd

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
)

func TestCrictl(t *testing.T) {
	m := newMachine(t)
	m.must("up", "--nodes", "2")
	m.fake.Commands = map[string]func(context.Context, cluster.Node, cluster.ExecSpec) int{
		"crictl": func(_ context.Context, n cluster.Node, cmd cluster.ExecSpec) int {
			switch cmd.Cmd[1] {
			case "completion":
				fmt.Fprint(cmd.Stdout, "opts=\"exec\nps\n--debug\"\nCOMPREPLY=\"\"\n")
			case "broken":
				fmt.Fprintln(cmd.Stderr, "no such command")
				return 3
			default:
				fmt.Fprintf(cmd.Stdout, "%s %v\n", n.Name, cmd.Cmd)
			}
			return 0
		},
	}
	for args, want := range map[string]string{
		"ps -a":                             "n1 [crictl ps -a]\n",
		"--node n2 ps --name web":           "n2 [crictl ps --name web]\n",
		"--node=n2 --name kl stats":         "n2 [crictl stats]\n",
		"--name kl --node n2 exec c -- x":   "n2 [crictl exec c -- x]\n",
		"exec c app --node n9":              "n1 [crictl exec c app --node n9]\n",
		"__complete crictl ":                "exec\nps\n--debug\n--node\n:4\n",
		"__complete crictl --node ":         "n1\nn2\n:4\n",
		"__complete crictl --name ":         "kl\n:4\n",
		"__complete crictl --node n2 exec ": ":0\n",
	} {
		line := strings.Split(args, " ")
		if line[0] != "__complete" {
			line = append([]string{"crictl"}, line...)
		}
		if out := m.must(line...); out != want {
			t.Errorf("%s printed %q, want %q", args, out, want)
		}
	}
	if _, stderr, code := m.run("crictl", "broken"); code != 3 || stderr != "no such command\n" {
		t.Errorf("a command that fails: exit code %d, %q", code, stderr)
	}
	if _, stderr, code := m.run("crictl", "--node", "n9", "ps"); code != exitFailed || !strings.Contains(stderr, "has no such node") {
		t.Errorf("n9: exit code %d, %q", code, stderr)
	}
	m.must("stop")
	_, stderr, code := m.run("crictl", "ps")
	if code != exitFailed || !strings.Contains(stderr, "the node is stopped") || !strings.Contains(stderr, "kl start --name kl") {
		t.Errorf("a stopped cluster: exit code %d, %q", code, stderr)
	}
	checkOneLine(t, stderr)
}

func TestCrictlSimulated(t *testing.T) {
	m := newMachine(t)
	// The driver of simulated nodes runs no commands.
	bare := struct{ cluster.Driver }{m.fake}
	m.env.Drivers = []DriverFactory{{Name: cluster.DriverDocker, Open: func(context.Context, *slog.Logger) (cluster.Driver, error) { return bare, nil }}}
	m.must("up")
	_, stderr, code := m.run("crictl", "ps")
	if code != exitFailed || !strings.Contains(stderr, "the nodes of cluster kl are simulated") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	checkOneLine(t, stderr)
}
