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
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
)

const mtuOption = "com.docker.network.driver.mtu"

// tries is how often a step is repeated that another process interfered with.
const tries = 20

func networkName(clusterName string) string { return "kl-" + clusterName }

// nodeNetwork is the network of a cluster.
type nodeNetwork struct {
	name   string // networkName, with a suffix if another home has a network of that name
	subnet netip.Prefix
}

// clusterNetworks lists the networks of a cluster of this home, smallest ID first. There is at most one, except while two
// processes that have each made one have not noticed yet.
func (d *Driver) clusterNetworks(ctx context.Context, clusterName string) ([]network.Summary, error) {
	list, err := d.client.NetworkList(ctx, network.ListOptions{
		Filters: filters.NewArgs(filters.Arg("label", labelCluster+"="+clusterName)),
	})
	if err != nil {
		return nil, wrap("list networks", err)
	}
	mine := list[:0]
	for _, n := range list {
		owner := n.Labels[labelOwner]
		owns := owner == d.owner
		if owner == "" {
			if owns, err = d.ownsOldNetwork(ctx, clusterName); err != nil {
				return nil, err
			}
		}
		if owns {
			mine = append(mine, n)
		}
	}
	slices.SortFunc(mine, func(a, b network.Summary) int { return cmp.Compare(a.ID, b.ID) })
	return mine, nil
}

// ownsOldNetwork reports whether a network that a kl before there were owners has made belongs to this home: unless nodes of
// another home, made by the same kl, have it.
func (d *Driver) ownsOldNetwork(ctx context.Context, clusterName string) (bool, error) {
	list, err := d.client.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", labelCluster+"="+clusterName)),
	})
	return !slices.ContainsFunc(list, func(c container.Summary) bool {
		return c.Labels[labelOwner] == "" && !d.owns(c.Labels, c.Mounts)
	}), wrap("list nodes", err)
}

// ensureNetwork makes the network of a cluster if it is missing. Its subnet is want if that is valid, else a free one. Engines up to API 1.43 allow two networks of the same name, so a process that sees a second one removes its own.
func (d *Driver) ensureNetwork(ctx context.Context, clusterName string, want netip.Prefix, avoid []netip.Prefix) (nodeNetwork, error) {
	unlock, err := d.networks.lock(ctx, clusterName)
	if err != nil {
		return nodeNetwork{}, err
	}
	defer unlock()
	for range tries {
		list, err := d.clusterNetworks(ctx, clusterName)
		if err != nil {
			return nodeNetwork{}, err
		}
		if len(list) == 1 {
			return networkOf(list[0])
		}
		if len(list) == 0 {
			made, retry, err := d.makeNetwork(ctx, clusterName, want, avoid)
			if err == nil {
				return made, nil
			}
			if !retry {
				return nodeNetwork{}, err
			}
			if made.subnet.IsValid() {
				avoid = append(slices.Clone(avoid), made.subnet)
			}
		}
		if err := pause(ctx); err != nil {
			return nodeNetwork{}, err
		}
	}
	return nodeNetwork{}, fmt.Errorf("make network %s: other processes make it at the same time", networkName(clusterName))
}

// makeNetwork makes a network and checks that it is the only one. If retry is true, the subnet of net, if it is valid, was refused.
func (d *Driver) makeNetwork(ctx context.Context, clusterName string, want netip.Prefix, avoid []netip.Prefix) (net nodeNetwork, retry bool, err error) {
	net = nodeNetwork{networkName(clusterName), want}
	use, err := d.networksInUse(ctx)
	if err != nil {
		return nodeNetwork{}, false, err
	}
	if use.names[net.name] > 0 {
		net.name += d.suffix()
	}
	if !want.IsValid() {
		if net.subnet, err = cluster.FreeSubnet(append(use.prefixes, avoid...)); err != nil {
			return nodeNetwork{}, false, err
		}
	}
	detached, cancel := detach(ctx) // so that it is known whether the network was made
	defer cancel()
	made, err := d.client.NetworkCreate(detached, net.name, d.networkOptions(clusterName, net.subnet, use.mtu))
	switch {
	case errdefs.IsConflict(err): // another home has just taken the name
		return nodeNetwork{}, true, err
	case err != nil:
		overlaps := strings.Contains(err.Error(), "overlaps")
		return net, overlaps && !want.IsValid(), wrap("make network "+net.name, err)
	}
	list, err := d.clusterNetworks(detached, clusterName)
	if err == nil {
		use, err = d.networksInUse(detached)
	}
	if err == nil && len(list) == 1 && use.names[net.name] == 1 && ctx.Err() == nil {
		return net, false, nil
	}
	err = errors.Join(err, ctx.Err(), d.client.NetworkRemove(detached, made.ID))
	return nodeNetwork{}, err == nil, cmp.Or(err, errors.New("another process made it at the same time"))
}

func (d *Driver) networkOptions(clusterName string, subnet netip.Prefix, mtu string) network.CreateOptions {
	o := network.CreateOptions{
		Driver: "bridge", Options: map[string]string{},
		Labels: map[string]string{labelOwner: d.owner, labelHome: string(d.home), labelCluster: clusterName},
		IPAM: &network.IPAM{Config: []network.IPAMConfig{{
			Subnet: subnet.String(), Gateway: subnet.Addr().Next().String(), IPRange: cluster.DynamicRange(subnet).String(),
		}}},
	}
	if mtu != "" {
		o.Options[mtuOption] = mtu // the host's own network may carry less than 1500 bytes
	}
	return o
}

// networksInUse is what a new network must differ from.
type networksInUse struct {
	prefixes []netip.Prefix // address ranges of the engine's networks and of the host
	names    map[string]int // how many networks of the engine have a name
	mtu      string         // of the engine's default network
}

func (d *Driver) networksInUse(ctx context.Context) (use networksInUse, err error) {
	if use.prefixes, err = cluster.HostPrefixes(); err != nil {
		return use, err
	}
	list, err := d.client.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return use, wrap("list networks", err)
	}
	use.names = map[string]int{}
	for _, n := range list {
		use.names[n.Name]++
		for _, c := range n.IPAM.Config {
			if p, err := netip.ParsePrefix(c.Subnet); err == nil {
				use.prefixes = append(use.prefixes, p)
			}
		}
		if n.Name == "bridge" {
			use.mtu = n.Options[mtuOption]
		}
	}
	return use, nil
}

func networkOf(n network.Summary) (nodeNetwork, error) {
	for _, c := range n.IPAM.Config {
		if p, err := netip.ParsePrefix(c.Subnet); err == nil && p.Addr().Is4() {
			return nodeNetwork{n.Name, p}, nil
		}
	}
	return nodeNetwork{}, fmt.Errorf("network %s has no IPv4 subnet", n.Name)
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
