package images

import (
	"context"
	"errors"

	coreimages "github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/platforms"
)

// unpack makes the snapshots of an image's layers. Those that the snapshotter has, since another node unpacked them, are not unpacked
// again: it is asked for them by the protocol for remote snapshotters, which containerd.Image.Unpack does not speak.
func (s *Store) unpack(ctx context.Context, image coreimages.Image) error {
	const snapshotter = defaults.DefaultSnapshotter
	here := platforms.Default()
	u, err := unpack.NewUnpacker(ctx, s.client.ContentStore(), unpack.WithUnpackPlatform(unpack.Platform{
		Platform: here, SnapshotterKey: snapshotter, Snapshotter: s.client.SnapshotService(snapshotter), Applier: s.client.DiffService(),
	}))
	if err != nil {
		return err
	}
	children := coreimages.ChildrenHandler(s.client.ContentStore())
	handler := coreimages.LimitManifests(coreimages.FilterPlatforms(children, here), here, 1) // other platforms may be missing
	err = coreimages.Walk(ctx, u.Unpack(handler), image.Target)
	_, unpacked := u.Wait()
	return errors.Join(err, unpacked)
}
