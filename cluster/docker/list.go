package docker

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/klkube/kl/cluster"
)

// List reads the nodes from the labels of containers. It leaves out those of other homes.
func (d *Driver) List(ctx context.Context, clusterName string) ([]cluster.Node, error) {
	label := labelCluster
	if clusterName != "" {
		label += "=" + clusterName
	}
	list, err := d.client.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", label), filters.Arg("label", labelNode)),
	})
	if err != nil {
		return nil, wrap("list nodes", err)
	}
	list = slices.DeleteFunc(list, func(c container.Summary) bool { return !d.owns(c.Labels, c.Mounts) })
	replaced := map[string]bool{} // containers that an Upgrade which was interrupted has left
	for _, c := range list {
		replaced[c.Labels[labelReplaces]] = true
	}
	var nodes []cluster.Node
	for _, c := range list {
		if c.State != container.StateRemoving && !replaced[c.ID] {
			nodes = append(nodes, node(c.ID, string(c.State), time.Unix(c.Created, 0), c.Labels))
		}
	}
	cluster.SortNodes(nodes)
	return nodes, nil
}

// inspect reads one node. Its time of creation is in whole seconds, as in List.
func (d *Driver) inspect(ctx context.Context, id string) (cluster.Node, error) {
	c, err := d.client.ContainerInspect(ctx, id)
	if err != nil {
		return cluster.Node{}, wrap("inspect node", err)
	}
	created, err := time.Parse(time.RFC3339Nano, c.Created)
	if err != nil {
		return cluster.Node{}, wrap("inspect node", err)
	}
	return node(c.ID, string(c.State.Status), created.Truncate(time.Second).Local(), c.Config.Labels), nil
}

// node makes a Node of a container's state and labels. A damaged label counts as empty.
func node(id, state string, created time.Time, labels map[string]string) cluster.Node {
	n := cluster.Node{
		Cluster: labels[labelCluster], Name: labels[labelNode], Driver: cluster.DriverDocker, ID: id, IP: labels[labelIP],
		Created: created, PayloadSHA: labels[labelPayload],
	}
	n.MilliCPUs, _ = strconv.ParseInt(labels[labelCPUs], 10, 64)
	n.MemoryBytes, _ = strconv.ParseInt(labels[labelMemory], 10, 64)
	_ = json.Unmarshal([]byte(labels[labelLabels]), &n.Labels)
	_ = json.Unmarshal([]byte(labels[labelPorts]), &n.Ports)
	switch state {
	case container.StateRunning:
		n.State = cluster.NodeRunning
	case container.StatePaused:
		n.State = cluster.NodePaused
	default: // created, exited, dead, or restarting: between two starts
		n.State = cluster.NodeStopped
	}
	return n
}
