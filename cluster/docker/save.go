package docker

import (
	"context"
	"fmt"
	"io"

	cerrdefs "github.com/containerd/errdefs"

	"github.com/klkube/kl/cluster"
)

var _ cluster.ImageSource = (*Driver)(nil)

// SaveImages returns images of the engine as one docker-archive.
func (d *Driver) SaveImages(ctx context.Context, names []string) (io.ReadCloser, error) {
	for _, name := range names { // for a missing image the engine returns an empty archive
		if _, err := d.client.ImageInspect(ctx, name); cerrdefs.IsNotFound(err) {
			return nil, fmt.Errorf("%w: %s", cluster.ErrNoImage, name)
		} else if err != nil {
			return nil, fmt.Errorf("inspect image %s: %w", name, err)
		}
	}
	r, err := d.client.ImageSave(ctx, names)
	if err != nil {
		return nil, fmt.Errorf("save images: %w", err)
	}
	return r, nil
}
