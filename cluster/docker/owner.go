package docker

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

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

// For returns the driver of another home on the same engine.
func (d *Driver) For(h cluster.Home) (cluster.Driver, error) {
	other := &Driver{
		client: d.client, home: h.Real(), owner: h.Owner(), log: d.log, progress: d.progress, info: d.info,
		startWatch: d.startWatch, creating: map[string]*inFlight{},
	}
	other.modes.host = d.client.DaemonHost()
	return other, nil
}

// Orphans lists the nodes of every home that is gone from this machine. The engine may serve other machines, or containers, where it
// is not: that is for a person to know.
func (d *Driver) Orphans(ctx context.Context) ([]cluster.Orphan, error) {
	list, err := d.client.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", labelCluster), filters.Arg("label", labelNode)),
	})
	if err != nil {
		return nil, wrap("list nodes", err)
	}
	var orphans []cluster.Orphan
	for _, c := range list {
		home := cluster.Home(c.Labels[labelHome])
		if home == "" || c.State == container.StateRemoving {
			continue
		}
		o := cluster.Orphan{Home: home, Cluster: c.Labels[labelCluster], Node: c.Labels[labelNode]}
		if o.Home.Gone() || cluster.Home(home.Cluster(o.Cluster).Dir()).Gone() {
			orphans = append(orphans, o)
		}
	}
	return orphans, nil
}
