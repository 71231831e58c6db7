package docker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/klkube/kl/cluster"
)

var _ cluster.ImageWatcher = (*Driver)(nil)

// WatchImages follows the engine's events. What a build says depends on engine and builder: each says the name or the ID of the image, some
// both. So each is asked for what it names.
func (d *Driver) WatchImages(ctx context.Context, since time.Time, see func(name string, image cluster.EngineImage)) error {
	args := filters.NewArgs(filters.Arg("type", string(events.ImageEventType)))
	for _, action := range []events.Action{events.ActionTag, events.ActionLoad, events.ActionPull, events.ActionCreate, events.ActionImport} {
		args.Add("event", string(action))
	}
	messages, errs := d.client.Events(ctx, events.ListOptions{Since: strconv.FormatFloat(float64(since.UnixNano())/1e9, 'f', 9, 64), Filters: args})
	for {
		select {
		case m := <-messages:
			if err := d.named(ctx, m, see); err != nil && ctx.Err() == nil {
				return err
			}
		case err := <-errs:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("follow the engine's events: %w: %w", cluster.ErrNoEngine, err)
		}
	}
}

// named calls see for each name that an event is about.
func (d *Driver) named(ctx context.Context, m events.Message, see func(name string, image cluster.EngineImage)) error {
	name := m.Actor.Attributes["name"]
	if name == "" {
		name = m.Actor.ID
	}
	names := []string{name}
	if strings.HasPrefix(name, "sha256:") {
		image, err := d.client.ImageInspect(ctx, name)
		if cerrdefs.IsNotFound(err) { // it is gone again
			return nil
		}
		if err != nil {
			return fmt.Errorf("inspect image %s: %w", name, err)
		}
		names = image.RepoTags
	}
	for _, name := range names {
		image, err := d.FindImage(ctx, name)
		if errors.Is(err, cluster.ErrNoImage) {
			continue
		}
		if err != nil {
			return err
		}
		see(name, image)
	}
	return nil
}
