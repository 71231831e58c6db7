package host_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

// TestUpPrunesSuperseded goes up beside payloads of other versions: those that clusters are made of are kept.
func TestUpPrunesSuperseded(t *testing.T) {
	b := newBench(t)
	var kept [][]string
	b.Prune = func(_ context.Context, keep []string) error {
		kept = append(kept, keep)
		return nil
	}
	b.mustUp(t, request(1))
	if len(kept) != 0 {
		t.Errorf("pruned %q without a payload to remove", kept)
	}
	for _, sha := range []string{"fake", "old", "older"} {
		if err := os.MkdirAll(b.Home.PayloadDir(sha), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b.mustUp(t, request(-1))
	if len(kept) != 1 || !slices.Contains(kept[0], "fake") {
		t.Errorf("kept are %q, want the one of the node", kept)
	}

	// A cluster of which nothing can be known may be made of any of them.
	if err := os.MkdirAll(b.Home.Cluster("broken").Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.Home.Cluster("broken").SpecFile(), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Up(t.Context(), request(-1), host.UpOptions{}); err != nil || len(kept) != 1 {
		t.Errorf("up beside a damaged cluster: %v, kept %q; want no removal", err, kept)
	}
	if !slices.ContainsFunc(b.events, func(e cluster.Event) bool { return e.State == cluster.StepNote && e.Step == cluster.StepPayload }) {
		t.Error("nothing told that payloads are kept")
	}
}

// TestUpPrunesNothingOfAnotherHome goes up in a home that shares the payloads of another one, whose clusters it does not know.
func TestUpPrunesNothingOfAnotherHome(t *testing.T) {
	b := newBench(t)
	b.Prune = func(context.Context, []string) error {
		t.Error("pruned the payloads of another home")
		return nil
	}
	other := cluster.Home(t.TempDir())
	for _, sha := range []string{"fake", "old", "older"} {
		if err := os.MkdirAll(other.PayloadDir(sha), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(string(b.Home), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(other.PayloadDir("x")), filepath.Dir(b.Home.PayloadDir("x"))); err != nil {
		t.Fatal(err)
	}
	b.mustUp(t, request(1))
}
