package containerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/platforms"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"

	"github.com/klkube/kl/embedded/node/layers"
)

// overlayID is upstream's name, so that what a node unpacked before stays its own.
const overlayID = "overlayfs"

// overlayConfig is the section of the overlayfs plugin in ConfigFile.
type overlayConfig struct {
	Layers string `toml:"layers"` // directory of layers that nodes share; empty for none
	Node   string `toml:"node"`   // this node's name there
}

// registerOverlay makes containerd know kl's overlayfs in the place of upstream's. The capabilities are upstream's without "rebase", with
// which containerd unpacks the layers of an image side by side: two nodes that unpack two images would wait for each other's layers.
//
//nolint:gochecknoglobals // so is containerd's list of plugins, which takes each of them once
var registerOverlay = sync.OnceFunc(func() {
	registry.Register(&plugin.Registration{
		Type: plugins.SnapshotPlugin, ID: overlayID, Config: &overlayConfig{},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			c, ok := ic.Config.(*overlayConfig)
			if !ok {
				return nil, errors.New("invalid configuration of overlayfs")
			}
			ic.Meta.Platforms = append(ic.Meta.Platforms, platforms.DefaultSpec())
			root := ic.Properties[plugins.PropertyRootDir]
			ic.Meta.Exports[plugins.SnapshotterRootDir] = root
			opts := []overlay.Opt{overlay.AsynchronousRemove}
			if mapped, err := overlayutils.SupportsIDMappedMounts(); err == nil && mapped {
				opts = append(opts, overlay.WithRemapIDs)
				ic.Meta.Capabilities = append(ic.Meta.Capabilities, "remap-ids")
			}
			ic.Meta.Capabilities = append(ic.Meta.Capabilities, "only-remap-ids")
			return newOverlay(ic.Context, root, *c, opts)
		},
	})
})

func newOverlay(ctx context.Context, root string, c overlayConfig, opts []overlay.Opt) (snapshots.Snapshotter, error) {
	s, err := overlay.NewSnapshotter(root, opts...)
	if err != nil || c.Layers == "" {
		return s, err
	}
	store, err := layers.Open(c.Layers, c.Node)
	if err != nil { // images can be unpacked without it
		slog.WarnContext(ctx, "images share no layers with other nodes", "error", err)
		return s, nil
	}
	shared, err := layers.NewSnapshotter(ctx, s, store, slog.Default())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("share layers in %s: %w", c.Layers, err), s.Close())
	}
	return shared, nil
}
