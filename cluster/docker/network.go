package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
)

const mtuOption = "com.docker.network.driver.mtu"

// tries is how often a step is repeated that another process interfered with.
const tries = 20

func networkName(clusterName string) string { return "kl-" + clusterName }

// clusterNetworks lists the networks of a cluster, smallest ID first. There is at most one, except while two processes that
// have each made one have not noticed yet.
func (d *Driver) clusterNetworks(ctx context.Context, clusterName string) ([]network.Summary, error) {
	list, err := d.client.NetworkList(ctx, network.ListOptions{
		Filters: filters.NewArgs(filters.Arg("label", labelCluster+"="+clusterName)),
	})
	slices.SortFunc(list, func(a, b network.Summary) int { return cmp.Compare(a.ID, b.ID) })
	return list, wrap("list networks", err)
}

// ensureNetwork makes the network of a cluster if it is missing and returns its subnet: want if it is valid, else a free one.
// Engines up to API 1.43 allow two networks of the same name, so a process that sees a second one removes its own.
func (d *Driver) ensureNetwork(ctx context.Context, clusterName string, want netip.Prefix, avoid []netip.Prefix) (netip.Prefix, error) {
	unlock, err := d.networks.lock(ctx, clusterName)
	if err != nil {
		return netip.Prefix{}, err
	}
	defer unlock()
	for range tries {
		list, err := d.clusterNetworks(ctx, clusterName)
		if err != nil {
			return netip.Prefix{}, err
		}
		if len(list) == 1 {
			return subnetOf(list[0])
		}
		if len(list) == 0 {
			subnet, retry, err := d.makeNetwork(ctx, clusterName, want, avoid)
			if err == nil {
				return subnet, nil
			}
			if !retry {
				return netip.Prefix{}, err
			}
			avoid = append(slices.Clone(avoid), subnet)
		}
		if err := pause(ctx); err != nil {
			return netip.Prefix{}, err
		}
	}
	return netip.Prefix{}, fmt.Errorf("make network %s: other processes make it at the same time", networkName(clusterName))
}

// makeNetwork makes a network and checks that it is the only one. If retry is true, subnet is a range that was refused.
func (d *Driver) makeNetwork(ctx context.Context, clusterName string, want netip.Prefix, avoid []netip.Prefix) (subnet netip.Prefix, retry bool, err error) {
	subnet = want
	taken, mtu, err := d.takenPrefixes(ctx)
	if err != nil {
		return netip.Prefix{}, false, err
	}
	if !want.IsValid() {
		if subnet, err = cluster.FreeSubnet(append(taken, avoid...)); err != nil {
			return netip.Prefix{}, false, err
		}
	}
	o := network.CreateOptions{
		Driver: "bridge", Options: map[string]string{}, Labels: map[string]string{labelCluster: clusterName},
		IPAM: &network.IPAM{Config: []network.IPAMConfig{{
			Subnet: subnet.String(), Gateway: subnet.Addr().Next().String(), IPRange: cluster.DynamicRange(subnet).String(),
		}}},
	}
	if mtu != "" {
		o.Options[mtuOption] = mtu // the host's own network may carry less than 1500 bytes
	}
	detached, cancel := detach(ctx) // so that it is known whether the network was made
	defer cancel()
	made, err := d.client.NetworkCreate(detached, networkName(clusterName), o)
	if err != nil {
		clash := strings.Contains(err.Error(), "overlaps") || errdefs.IsConflict(err)
		return subnet, clash && !want.IsValid(), wrap("make network "+networkName(clusterName), err)
	}
	list, err := d.clusterNetworks(detached, clusterName)
	if err == nil && len(list) == 1 && ctx.Err() == nil {
		return subnet, false, nil
	}
	err = errors.Join(err, ctx.Err(), d.client.NetworkRemove(detached, made.ID))
	return netip.Prefix{}, err == nil, cmp.Or(err, errors.New("another process made it at the same time"))
}

// takenPrefixes returns the address ranges of the engine's networks and of the host, and the MTU of the engine's default
// network.
func (d *Driver) takenPrefixes(ctx context.Context) (taken []netip.Prefix, mtu string, err error) {
	if taken, err = cluster.HostPrefixes(); err != nil {
		return nil, "", err
	}
	list, err := d.client.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return nil, "", wrap("list networks", err)
	}
	for _, n := range list {
		for _, c := range n.IPAM.Config {
			if p, err := netip.ParsePrefix(c.Subnet); err == nil {
				taken = append(taken, p)
			}
		}
		if n.Name == "bridge" {
			mtu = n.Options[mtuOption]
		}
	}
	return taken, mtu, nil
}

func subnetOf(n network.Summary) (netip.Prefix, error) {
	for _, c := range n.IPAM.Config {
		if p, err := netip.ParsePrefix(c.Subnet); err == nil && p.Addr().Is4() {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("network %s has no IPv4 subnet", n.Name)
}

// DeleteCluster removes the network of a cluster.
func (d *Driver) DeleteCluster(ctx context.Context, clusterName string) error {
	unlock, err := d.networks.lock(ctx, clusterName)
	if err != nil {
		return err
	}
	defer unlock()
	return d.removeNetworks(ctx, clusterName)
}

func (d *Driver) removeNetworks(ctx context.Context, clusterName string) error {
	list, err := d.clusterNetworks(ctx, clusterName)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range list {
		if err := d.client.NetworkRemove(ctx, n.ID); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, wrap("remove network "+n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// pause waits for a short, random time, so that two processes that interfered with each other do not do so again.
func pause(ctx context.Context) error {
	t := time.NewTimer(wait.Jitter(5*time.Millisecond, 10))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// detach returns a context for requests that must not be cancelled: the engine may serve a cancelled request all the same.
func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}
