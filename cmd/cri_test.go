package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/cricheck"
)

func TestCRICheck(t *testing.T) {
	m := newMachine(t)
	m.must("up", "--nodes", "2")
	code := 1
	m.fake.Commands = map[string]func(context.Context, cluster.Node, cluster.ExecSpec) int{
		"kl-critest": func(_ context.Context, _ cluster.Node, cmd cluster.ExecSpec) int {
			fmt.Fprintln(cmd.Stdout, `{"name":"works","outcome":"passed","seconds":1.25}`)
			fmt.Fprintln(cmd.Stdout, `{"name":"cannot","outcome":"skipped","reason":"no kernel"}`)
			if code != 0 {
				fmt.Fprintln(cmd.Stdout, `{"name":"breaks","outcome":"failed","seconds":2,"reason":"one\ntwo"}`)
			}
			return code
		},
	}
	out, stderr, exit := m.run("cri", "check", "n2")
	want := "ok      works (1.2 s)\nskipped cannot: no kernel\nFAILED  breaks (2.0 s)\n        one\n        two\nn2: 1 passed, 1 failed, 1 skipped in 0 s\n"
	if exit != exitFailed || out != want || stderr != "" {
		t.Errorf("exit code %d, %q, %q", exit, out, stderr)
	}
	out, _, exit = m.run("cri", "check", "-o", "junit")
	if exit != exitFailed || !strings.Contains(out, `hostname="n1" tests="3" failures="1" skipped="1"`) {
		t.Errorf("junit: exit code %d, %s", exit, out)
	}
	code = 0
	var r cricheck.Report
	if err := json.Unmarshal([]byte(m.must("cri", "check", "-o", "json")), &r); err != nil || r.Passed != 1 || len(r.Specs) != 2 {
		t.Errorf("json: %+v, %v", r, err)
	}
	if out := m.must("__complete", "cri", "check", ""); out != "n1\nn2\n:4\n" {
		t.Errorf("completion: %q", out)
	}
	if _, stderr, exit := m.run("cri", "check", "n9"); exit != exitFailed || !strings.Contains(stderr, "no such node") {
		t.Errorf("n9: exit code %d, %q", exit, stderr)
	}
	m.must("stop")
	if _, stderr, exit := m.run("cri", "check"); exit != exitFailed || !strings.Contains(stderr, "kl start --name kl") {
		t.Errorf("a stopped cluster: exit code %d, %q", exit, stderr)
	}
}
