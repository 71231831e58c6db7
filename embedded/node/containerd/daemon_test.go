package containerd

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/boot"
)

// TestDaemonAcceptsConfig loads the configuration as the daemon does: every section belongs to a plugin that is compiled in,
// and every key is one that the plugin knows.
func TestDaemonAcceptsConfig(t *testing.T) {
	registerOverlay()
	root := t.TempDir()
	if err := WriteConfig(root, boot.Facts{RestrictOOMScoreAdj: true}, cluster.NodeConfig{}); err != nil {
		t.Fatal(err)
	}
	var warnings bytes.Buffer
	logger := logrus.New()
	logger.SetOutput(&warnings)
	ctx := log.WithLogger(context.Background(), logrus.NewEntry(logger))
	var c config.Config
	if err := config.LoadConfig(ctx, filepath.Join(root, ConfigFile), &c); err != nil {
		t.Fatal(err)
	}
	if c.Root != "/var/lib/containerd" || c.State != filepath.Dir(Socket) {
		t.Errorf("root %s, state %s", c.Root, c.State)
	}
	plugins := map[string]plugin.Registration{}
	for _, p := range registry.Graph(func(*plugin.Registration) bool { return false }) {
		plugins[p.URI()] = p
	}
	for id := range c.Plugins {
		p, ok := plugins[id]
		if !ok {
			t.Errorf("plugin %s is configured but not compiled in", id)
			continue
		}
		if _, err := c.Decode(ctx, id, p.Config); err != nil {
			t.Errorf("decode %s: %v", id, err)
		}
	}
	if warnings.Len() > 0 {
		t.Errorf("containerd would warn:\n%s", &warnings)
	}
}

// TestPlugins: the kubelet's needs are compiled in, and snapshotters that need more than a directory are not.
func TestPlugins(t *testing.T) {
	registerOverlay()
	var snapshotters []string
	have := map[string]bool{}
	for _, p := range registry.Graph(func(*plugin.Registration) bool { return false }) {
		have[p.URI()] = true
		if id, ok := strings.CutPrefix(p.URI(), "io.containerd.snapshotter.v1."); ok {
			snapshotters = append(snapshotters, id)
		}
	}
	for _, id := range []string{
		"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.runtime.v2.task",
		"io.containerd.grpc.v1.introspection", "io.containerd.grpc.v1.healthcheck", "io.containerd.gc.v1.scheduler",
	} {
		if !have[id] {
			t.Errorf("plugin %s is missing", id)
		}
	}
	if d := cmp.Diff([]string{"overlayfs"}, snapshotters); d != "" {
		t.Errorf("snapshotters (-want +got):\n%s", d)
	}
}
