package docker

import "context"

// PurgePayload is Purge of one payload's image: a test must not remove images of clusters it does not know.
func (d *Driver) PurgePayload(ctx context.Context, sha string) error {
	return d.purge(ctx, labelPayload+"="+sha)
}

// AssumeCapabilities makes the driver find out by trying whether the engine starts privileged containers.
func (d *Driver) AssumeCapabilities() { d.modes.decided = true }
