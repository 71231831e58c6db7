package host_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

func TestPruneImages(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(2))
	var asked []string
	b.fake.Commands = map[string]func(context.Context, cluster.Node, cluster.ExecSpec) int{
		"kl-engine": func(_ context.Context, n cluster.Node, cmd cluster.ExecSpec) int {
			asked = append(asked, n.Name+": "+strings.Join(cmd.Cmd, " "))
			fmt.Fprint(cmd.Stdout, `[{"names":["app:1"],"digest":"sha256:1","size":12}]`)
			return 0
		},
	}
	must(t, b.StopNode(t.Context(), "demo", "n2"))
	got, err := b.PruneImages(t.Context(), "demo", true)
	must(t, err)
	want := []host.PrunedImages{
		{Node: "n1", Images: []cluster.Image{{Names: []string{"app:1"}, Digest: "sha256:1", Size: 12}}},
		{Node: "n2", Images: []cluster.Image{}, Skipped: true},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("removed (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"n1: kl-engine prune-images --all"}, asked); d != "" {
		t.Errorf("nodes were asked (-want +got):\n%s", d)
	}
	b.fake.Commands["kl-engine"] = func(_ context.Context, _ cluster.Node, cmd cluster.ExecSpec) int {
		fmt.Fprintln(cmd.Stderr, "kl-engine prune-images: list images: containerd is gone")
		return 1
	}
	if _, err := b.PruneImages(t.Context(), "demo", false); err == nil || !strings.Contains(describe(err), "n1") || !strings.Contains(describe(err), "containerd is gone") {
		t.Errorf("a node that cannot: %v", err)
	}
}
