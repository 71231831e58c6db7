package docker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"

	"github.com/klkube/kl/cluster"
)

var _ cluster.Upgrader = (*Driver)(nil)

// Upgrade replaces the container of a stopped node by one of another image, with the same volume and address. If it is
// interrupted there may be two containers of the node: List shows the new one, and Start and Delete remove the other.
func (d *Driver) Upgrade(ctx context.Context, n cluster.Node, p cluster.Payload) (cluster.Node, error) {
	fail := func(err error) (cluster.Node, error) { return cluster.Node{}, wrap("upgrade node "+n.Name, err) }
	old, err := d.find(ctx, n)
	if err != nil {
		return fail(err)
	}
	if old.State.Running {
		return fail(errors.New("it runs"))
	}
	if old.Config.Labels[labelPayload] == p.SHA {
		return n, nil
	}
	if err := d.Prepare(ctx, n.Cluster, p); err != nil {
		return fail(err)
	}
	net, err := d.networkAgain(ctx, n.Cluster, old)
	if err != nil {
		return fail(err)
	}
	id, err := d.replace(ctx, old, net, p)
	if err != nil {
		return fail(err)
	}
	upgraded, err := d.inspect(ctx, id)
	if err != nil {
		return fail(err)
	}
	return upgraded, nil
}

// replace makes the new container and removes the old one, but not its volume.
func (d *Driver) replace(ctx context.Context, old container.InspectResponse, net nodeNetwork, p cluster.Payload) (id string, err error) {
	config, host := *old.Config, *old.HostConfig
	config.Image = d.imageName(p)
	config.Labels = maps.Clone(config.Labels)
	config.Labels[labelPayload], config.Labels[labelReplaces] = p.SHA, old.ID
	host.NetworkMode = container.NetworkMode(net.name)
	host.Mounts = slices.DeleteFunc(slices.Clone(host.Mounts), func(m mount.Mount) bool { return m.Type == mount.TypeVolume })
	host.VolumesFrom = []string{old.ID}
	connected := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
		net.name: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: config.Labels[labelIP]}},
	}}
	suffix := "-" + old.ID[:12]
	name := strings.TrimSuffix(strings.TrimPrefix(old.Name, "/"), suffix) // which it has if an upgrade was interrupted
	ctx, cancel := detach(ctx)
	defer cancel()
	if strings.TrimPrefix(old.Name, "/") == name {
		if err := d.client.ContainerRename(ctx, old.ID, name+suffix); err != nil {
			return "", wrap("rename container", err)
		}
	}
	made, err := d.client.ContainerCreate(ctx, &config, &host, connected, nil, name)
	if err != nil {
		return "", errors.Join(wrap("create container", err), d.client.ContainerRename(ctx, old.ID, name))
	}
	return made.ID, wrap("remove container", d.client.ContainerRemove(ctx, old.ID, container.RemoveOptions{Force: true}))
}

// removeReplaced removes the container that replace has left, if it was interrupted: not the volume, which is the new one's, too.
func (d *Driver) removeReplaced(ctx context.Context, c container.InspectResponse) error {
	id := c.Config.Labels[labelReplaces]
	if id == "" {
		return nil
	}
	old, err := d.client.ContainerInspect(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err == nil && d.owns(old.Config.Labels, old.Mounts) {
		err = d.client.ContainerRemove(ctx, id, container.RemoveOptions{Force: true})
	}
	return wrap("remove the container of the older kl", err)
}

// removeVolumes removes the volumes of a container that replace has made: the engine forgets to, if it was never started.
func (d *Driver) removeVolumes(ctx context.Context, c container.InspectResponse) error {
	for _, m := range c.Mounts {
		if m.Type != mount.TypeVolume || m.Name == d.layersVolume() {
			continue
		}
		if err := d.client.VolumeRemove(ctx, m.Name, true); err != nil && !errdefs.IsNotFound(err) {
			return wrap("remove volume "+m.Name, err)
		}
	}
	return nil
}
