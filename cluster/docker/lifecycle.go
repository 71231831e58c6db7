package docker

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/klkube/kl/cluster"
)

// Delete kills and removes a node's container and its volume.
func (d *Driver) Delete(ctx context.Context, n cluster.Node) error {
	c, err := d.find(ctx, n)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err == nil {
		err = d.removeReplaced(ctx, c)
	}
	if err == nil {
		err = d.remove(ctx, c.ID)
	}
	if err == nil && c.Config.Labels[labelReplaces] != "" {
		err = d.removeVolumes(ctx, c)
	}
	if err == nil {
		err = d.removeLayers(ctx)
	}
	return wrap("delete node "+n.Name, err)
}

// remove removes a container, or waits until another process has done so.
func (d *Driver) remove(ctx context.Context, id string) error {
	err := d.client.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	switch {
	case err == nil, errdefs.IsNotFound(err):
		return nil
	case !errdefs.IsConflict(err):
		return err
	}
	gone, lost := d.client.ContainerWait(ctx, id, container.WaitConditionRemoved) // removal is in progress
	select {
	case <-gone:
		return nil
	case err := <-lost:
		if errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
}

// Start starts a stopped node. It makes the cluster's network again if that was pruned while all nodes were stopped.
func (d *Driver) Start(ctx context.Context, n cluster.Node) error {
	c, err := d.find(ctx, n)
	if err != nil {
		return wrap("start node "+n.Name, err)
	}
	if c.State.Running && !c.State.Restarting {
		return nil
	}
	if err := d.removeReplaced(ctx, c); err != nil {
		return wrap("start node "+n.Name, err)
	}
	if _, err := d.networkAgain(ctx, n.Cluster, c); err != nil {
		return wrap("start node "+n.Name, err)
	}
	if err := d.reattach(ctx, c, n.Cluster); err != nil {
		return wrap("start node "+n.Name, err)
	}
	return wrap("start node "+n.Name, d.client.ContainerStart(ctx, c.ID, container.StartOptions{}))
}

// networkAgain makes the network again that a node was made in, if it is missing.
func (d *Driver) networkAgain(ctx context.Context, clusterName string, c container.InspectResponse) (nodeNetwork, error) {
	subnet, err := netip.ParsePrefix(c.Config.Labels[labelSubnet])
	if err != nil {
		return nodeNetwork{}, fmt.Errorf("read its label %s: %w", labelSubnet, err)
	}
	return d.ensureNetwork(ctx, clusterName, subnet, nil)
}

// reattach connects a stopped container to the cluster's network, if that is not the one it was connected to.
func (d *Driver) reattach(ctx context.Context, c container.InspectResponse, clusterName string) error {
	list, err := d.clusterNetworks(ctx, clusterName)
	if err != nil || len(list) == 0 {
		return err
	}
	name := list[0].Name
	for connected, e := range c.NetworkSettings.Networks { // one, whose name may not be free any more
		if connected == name && (e.NetworkID == "" || e.NetworkID == list[0].ID) {
			return nil
		}
		if err := d.client.NetworkDisconnect(ctx, connected, c.ID, true); err != nil {
			return wrap("disconnect from network "+name, err)
		}
	}
	addr := c.Config.Labels[labelIP]
	return wrap("connect to network "+name, d.client.NetworkConnect(ctx, list[0].ID, c.ID, &network.EndpointSettings{
		IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: addr},
	}))
}

// Stop shuts a node down, and kills it if it still runs after stopTimeout.
func (d *Driver) Stop(ctx context.Context, n cluster.Node) error {
	c, err := d.find(ctx, n)
	if err == nil && c.State.Paused { // a frozen node cannot shut down
		err = d.client.ContainerUnpause(ctx, c.ID)
	}
	if err == nil {
		timeout := int(stopTimeout.Seconds())
		err = d.client.ContainerStop(ctx, c.ID, container.StopOptions{Timeout: &timeout})
	}
	return wrap("stop node "+n.Name, err)
}

// Kill ends a node immediately. The engine restarts nodes that end by themselves, but not one that was killed.
func (d *Driver) Kill(ctx context.Context, n cluster.Node) error {
	c, err := d.find(ctx, n)
	if err == nil {
		err = d.client.ContainerKill(ctx, c.ID, "KILL")
	}
	if errdefs.IsConflict(err) { // the node does not run; this keeps the engine from restarting it
		now := 0
		err = d.client.ContainerStop(ctx, c.ID, container.StopOptions{Timeout: &now})
	}
	return wrap("kill node "+n.Name, err)
}

// Pause freezes a node.
func (d *Driver) Pause(ctx context.Context, n cluster.Node) error {
	c, err := d.find(ctx, n)
	if err == nil && !c.State.Paused {
		err = d.client.ContainerPause(ctx, c.ID)
	}
	return wrap("pause node "+n.Name, err)
}

// Resume unfreezes a node. It does nothing to one that is not frozen.
func (d *Driver) Resume(ctx context.Context, n cluster.Node) error {
	c, err := d.find(ctx, n)
	if err == nil && c.State.Paused {
		err = d.client.ContainerUnpause(ctx, c.ID)
	}
	return wrap("resume node "+n.Name, err)
}
