package host_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/images"
)

func TestUpWithBundles(t *testing.T) {
	b := newBench(t)
	good := archive(t, clustertest.OCIArchive(app))
	damaged := images.Archive{Path: filepath.Join(t.TempDir(), "b.tar.zst")}
	write(t, damaged.Path, "hello")
	if _, err := b.Up(t.Context(), request(2), host.UpOptions{Bundles: []images.Archive{good, damaged}}); err == nil || !strings.Contains(err.Error(), "read "+damaged.Path) {
		t.Errorf("a damaged bundle: %v", err)
	}
	if names, err := b.Home.Names(); err != nil || len(names) > 0 {
		t.Errorf("it made clusters %q, %v", names, err)
	}
	for _, what := range []string{"new", "running"} {
		if _, err := b.Up(t.Context(), request(2), host.UpOptions{Bundles: []images.Archive{good}}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, node := range []string{"n1", "n2"} {
			file := filepath.Join(b.Home.Cluster("demo").NodeDir(node), clustertest.PostedFile)
			if data, err := os.ReadFile(file); err != nil || !strings.Contains(string(data), "rootfs") {
				t.Errorf("%s: %s was sent %q, %v", what, node, data, err)
			}
			os.Remove(file)
		}
	}
	// A node that cannot take the images does not take the cluster with it.
	write(t, filepath.Join(b.Home.Cluster("demo").NodeDir("n2"), clustertest.ImagesFile), "hello")
	_, err := b.Up(t.Context(), request(2), host.UpOptions{Bundles: []images.Archive{good}})
	if err == nil || !strings.Contains(err.Error(), "on node n2") {
		t.Errorf("error is %v", err)
	}
	info, err := b.Inspect(t.Context(), "demo")
	if err != nil || info.Phase != cluster.PhaseReady || !slices.ContainsFunc(info.Nodes, func(n cluster.Node) bool { return n.Name == "n2" }) {
		t.Errorf("cluster is %+v, %v", info, err)
	}
}

func TestAddedNodesHaveLoadedImages(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	l := b.Home.Cluster("demo")
	add := func() string {
		t.Helper()
		added, err := b.AddNodes(t.Context(), "demo", cluster.NodeGroup{Count: 1}, host.UpOptions{})
		if err != nil {
			t.Fatal(err)
		}
		data, _ := os.ReadFile(filepath.Join(l.NodeDir(added[0]), clustertest.PostedFile))
		return string(data)
	}
	if got := add(); got != "" {
		t.Errorf("the node was sent %q, although none was loaded", got)
	}
	const parts = `[{"names":["docker.io/library/app:1"],"blobs":[]}]`
	write(t, filepath.Join(l.NodeDir("n1"), clustertest.PartsFile), parts)
	if got := add(); got != parts {
		t.Errorf("the node was sent %q", got)
	}
}
