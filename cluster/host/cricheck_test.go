package host_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/cricheck"
	"github.com/klkube/kl/cluster/host"
)

func TestCheckRuntime(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(2))
	var asked []string
	answer := func(code int, stdout, stderr string) {
		b.fake.Commands = map[string]func(context.Context, cluster.Node, cluster.ExecSpec) int{
			"kl-critest": func(_ context.Context, n cluster.Node, cmd cluster.ExecSpec) int {
				asked = append([]string{n.Name}, cmd.Cmd[1:]...)
				fmt.Fprint(cmd.Stdout, stdout)
				fmt.Fprint(cmd.Stderr, stderr)
				return code
			},
		}
	}
	check := func(node string, o host.CheckOptions) (cricheck.Report, error) {
		return b.CheckRuntime(t.Context(), "demo", node, o, func(cricheck.Spec) {})
	}
	answer(1, `{"name":"a","outcome":"passed"}`+"\n"+`{"name":"b","outcome":"failed","reason":"no"}`+"\n"+`{"name":"c","outcome":"skipped","reason":"why"}`+"\n", "noise\n")
	r, err := check("n2", host.CheckOptions{Focus: []string{"x", "y"}, Skip: []string{"z"}})
	must(t, err)
	if r.Node != "n2" || r.Passed != 1 || r.Failed != 1 || r.Skipped != 1 {
		t.Errorf("report %+v", r)
	}
	if d := cmp.Diff([]string{"n2", "-focus", "x", "-focus", "y", "-skip", "z"}, asked); d != "" {
		t.Errorf("the suite got (-want +got):\n%s", d)
	}
	for _, tt := range []struct {
		code           int
		stdout, stderr string
		want           string
	}{
		{2, "", "start containerd: no such file\n", "start containerd: no such file"},
		{137, "", "", "exit code 137"},
		{0, "panic\n", "", "not a result"},
	} {
		answer(tt.code, tt.stdout, tt.stderr)
		if _, err := check("", host.CheckOptions{}); err == nil || !strings.Contains(describe(err), tt.want) || !strings.Contains(describe(err), "n1") {
			t.Errorf("%+v: error %v", tt, err)
		}
	}
}

// TestCheckRuntimeInterrupted checks that the suite is told to stop, and waited for: it cleans up.
func TestCheckRuntimeInterrupted(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	ctx, cancel := context.WithCancelCause(t.Context())
	cleaned := false
	b.fake.Commands = map[string]func(context.Context, cluster.Node, cluster.ExecSpec) int{
		"kl-critest": func(ctx context.Context, _ cluster.Node, cmd cluster.ExecSpec) int {
			cancel(errors.New("Ctrl-C"))
			_, err := io.Copy(io.Discard, cmd.Stdin)
			cleaned = err == nil && ctx.Err() == nil
			return 2
		},
	}
	_, err := b.CheckRuntime(ctx, "demo", "", host.CheckOptions{}, func(cricheck.Spec) {})
	if err == nil || !strings.Contains(err.Error(), "Ctrl-C") || !cleaned {
		t.Errorf("error %v, cleaned up: %v", err, cleaned)
	}
}
