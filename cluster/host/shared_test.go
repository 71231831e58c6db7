package host_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
)

// What pods have left in shared volumes may be root's: a node removes it, one that runs.
func TestDownEmptiesSharedVolumes(t *testing.T) {
	b := newBench(t)
	var ran []string
	l := b.Home.Cluster("demo")
	b.fake.Commands = map[string]func(context.Context, cluster.Node, cluster.ExecSpec) int{"/bin/sh": func(_ context.Context, n cluster.Node, cmd cluster.ExecSpec) int {
		if strings.Contains(cmd.Cmd[2], cluster.SharedMountDir) {
			ran = append(ran, n.Name)
			_ = os.RemoveAll(filepath.Join(l.SharedDir(), "pvc-1"))
		}
		return 0
	}}
	b.mustUp(t, request(2))
	if err := os.MkdirAll(filepath.Join(l.SharedDir(), "pvc-1", "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Down(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	b.checkGone(t)
	if len(ran) != 1 {
		t.Errorf("nodes that emptied the volumes: %v, want one", ran)
	}
	b.mustUp(t, request(1)) // nothing to remove
	if _, err := b.Down(t.Context(), "demo"); err != nil || len(ran) != 1 {
		t.Errorf("second down: %v, emptied by %v", err, ran)
	}
}
