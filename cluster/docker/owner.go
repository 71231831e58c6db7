package docker

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/klkube/kl/cluster"
)

// suffix tells apart what has to have a name of its own in the engine and would else have the same one in two homes.
func (d *Driver) suffix() string { return "-" + d.owner }

// owns reports whether a container belongs to this home. One that a kl before there were owners has made has no owner's
// label: it belongs to the home that its node's directory is in.
func (d *Driver) owns(labels map[string]string, mounts []container.MountPoint) bool {
	if owner := labels[labelOwner]; owner != "" {
		return owner == d.owner
	}
	for _, m := range mounts {
		if m.Destination == cluster.NodeMountDir {
			return strings.HasPrefix(string(cluster.Home(m.Source).Real()), d.home.ClustersDir()+string(filepath.Separator))
		}
	}
	return false
}

// find inspects the container of a node. One that is not of this home is as good as none, whatever its name or ID.
func (d *Driver) find(ctx context.Context, n cluster.Node) (container.InspectResponse, error) {
	none := fmt.Errorf("%w: no container of node %s", errdefs.ErrNotFound, n.Name)
	id := n.ID
	if id == "" {
		nodes, err := d.List(ctx, n.Cluster)
		if err != nil {
			return container.InspectResponse{}, err
		}
		for _, have := range nodes {
			if have.Cluster == n.Cluster && have.Name == n.Name {
				id = have.ID
			}
		}
		if id == "" {
			return container.InspectResponse{}, none
		}
	}
	c, err := d.client.ContainerInspect(ctx, id)
	if err == nil && (c.Config == nil || !d.owns(c.Config.Labels, c.Mounts)) {
		return container.InspectResponse{}, none
	}
	return c, err
}
