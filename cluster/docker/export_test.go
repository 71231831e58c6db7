package docker

import (
	"context"
	"time"
)

// PurgePayload is Purge of one payload's image: a test must not remove images of clusters it does not know.
func (d *Driver) PurgePayload(ctx context.Context, sha string) error {
	return d.purge(ctx, labelPayload+"="+sha)
}

// AssumeCapabilities makes the driver try whether the engine starts privileged containers, instead of looking at its process.
func (d *Driver) AssumeCapabilities() { d.modes.decided = true }

// WatchStarts makes Create watch a new node for that long.
func (d *Driver) WatchStarts(watch time.Duration) { d.startWatch = watch }
