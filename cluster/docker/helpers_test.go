package docker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
)

func detached(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
}

// smallSpec returns the spec of node n1 of a new cluster, all of which is removed when the test ends.
func smallSpec(t *testing.T, c *client.Client, name string) cluster.NodeSpec {
	t.Helper()
	dir := t.TempDir()
	spec := cluster.NodeSpec{
		Cluster: prefix() + name, Name: "n1", Payload: clustertest.SmallPayload(t, fmt.Sprintf("%s-%d", name, os.Getpid())),
		TunnelDir: filepath.Join(dir, "run"), NodeDir: filepath.Join(dir, "n1"),
	}
	for _, dir := range []string{spec.TunnelDir, spec.NodeDir} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d := connect(t)
	t.Cleanup(func() {
		ctx, cancel := detached(t)
		defer cancel()
		if err := d.Delete(ctx, cluster.Node{Cluster: spec.Cluster, Name: spec.Name}); err != nil {
			t.Error(err)
		}
		if err := d.DeleteCluster(ctx, spec.Cluster); err != nil {
			t.Error(err)
		}
		removeImages(t, c, spec.Payload.SHA)
		if left := residue(t, c, spec.Cluster); left != "" {
			t.Errorf("the engine still holds:\n%s", left)
		}
		_ = d.Close()
	})
	return spec
}

// removeImages removes the images of all payloads whose SHA begins with prefix.
func removeImages(t *testing.T, c *client.Client, prefix string) {
	t.Helper()
	ctx, cancel := detached(t)
	defer cancel()
	images, err := c.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", "dev.kl.payload"))})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range images {
		if !strings.HasPrefix(i.Labels["dev.kl.payload"], prefix) {
			continue
		}
		if _, err := c.ImageRemove(ctx, i.ID, image.RemoveOptions{PruneChildren: true, Force: true}); err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("remove image: %v", err)
		}
	}
}
