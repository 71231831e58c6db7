package host_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
)

// TestDownReleasesLayers: a cluster that goes is taken off the layers it shares, and the last one of a home takes them with it.
func TestDownReleasesLayers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: NOT ROOT. Without root a node removes layers, which the fake driver has no shell for.")
	}
	b := newBench(t)
	b.mustUp(t, request(2))
	other := request(1)
	other.Name = "demo-2"
	b.mustUp(t, other)
	dir := filepath.Join(b.Home.LayersDir(), "sha256", "0123")
	if err := os.MkdirAll(filepath.Join(dir, "refs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"demo.n1", "demo.n2", "demo-2.n1"} {
		write(t, filepath.Join(dir, "refs", ref), "")
	}
	refs := func() (names []string) {
		entries, err := os.ReadDir(filepath.Join(dir, "refs"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return slices.Sorted(slices.Values(names))
	}
	b.fake.Hook = func(_ context.Context, op string, n cluster.Node) error { // until it is gone a node uses layers
		if op != "delete" {
			return nil
		}
		if err := os.MkdirAll(filepath.Join(dir, "refs"), 0o700); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "refs", n.Cluster+"."+n.Name), nil, 0o600)
	}
	down := func(name string) {
		t.Helper()
		if _, err := b.Down(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	down("demo")
	if diff := cmp.Diff([]string{"demo-2.n1"}, refs()); diff != "" {
		t.Errorf("nodes that use a layer (-want +got):\n%s", diff)
	}
	down("demo-2")
	if _, err := os.Stat(b.Home.LayersDir()); !os.IsNotExist(err) {
		t.Errorf("the last cluster left the layers: %v", err)
	}
}
