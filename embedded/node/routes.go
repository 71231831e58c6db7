package node

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	corev1 "k8s.io/api/core/v1"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/klkube/kl/cluster/netlist"
)

// routeProtocol marks kl's own routes in the kernel's table, so that no others are removed.
const routeProtocol netlink.RouteProtocol = 107

// route leads to the pods of one node. A route without via is for the node's own range: addresses that no pod has are
// unreachable instead of leaving by the default route.
type route struct {
	dst netip.Prefix
	via netip.Addr
}

// wantedRoutes returns the routes of the node self: one for the pod range of each node that has a range and an address.
func wantedRoutes(self string, nodes []*corev1.Node) []route {
	var routes []route
	for _, n := range nodes {
		dst, ok := podRange(n)
		if !ok {
			continue
		}
		r := route{dst: dst}
		if n.Name != self {
			if r.via, ok = internalIP(n); !ok {
				continue
			}
		}
		routes = append(routes, r)
	}
	slices.SortFunc(routes, compareRoutes)
	return routes
}

func compareRoutes(a, b route) int {
	return cmp.Or(a.dst.Addr().Compare(b.dst.Addr()), cmp.Compare(a.dst.Bits(), b.dst.Bits()), a.via.Compare(b.via))
}

// routeChanges returns the routes to add and to remove to get from have to want.
func routeChanges(have, want []route) (add, remove []route) {
	for _, r := range want {
		if !slices.Contains(have, r) {
			add = append(add, r)
		}
	}
	for _, r := range have {
		if !slices.Contains(want, r) {
			remove = append(remove, r)
		}
	}
	return add, remove
}

// podRange returns the IPv4 pod range of a node; false if it has none.
func podRange(n *corev1.Node) (netip.Prefix, bool) {
	for _, s := range append([]string{n.Spec.PodCIDR}, n.Spec.PodCIDRs...) {
		if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
			return p.Masked(), true
		}
	}
	return netip.Prefix{}, false
}

// internalIP returns the IPv4 address by which other nodes reach a node; false if it has none.
func internalIP(n *corev1.Node) (netip.Addr, bool) {
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil && ip.Is4() {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// applyRoutes makes want the only routes of kl in the kernel's table, and returns how many it changed. Stale routes are
// removed first: a range may have moved to another node.
func applyRoutes(want []route) (changed int, err error) {
	filter := &netlink.Route{Protocol: routeProtocol, Table: unix.RT_TABLE_MAIN}
	list, err := netlist.Routes(filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	if err != nil {
		return 0, fmt.Errorf("list routes: %w", err)
	}
	var have []route
	for _, r := range list {
		have = append(have, fromKernel(r))
	}
	add, remove := routeChanges(have, want)
	var errs []error
	for _, r := range remove {
		if err := netlink.RouteDel(r.kernel()); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("remove route to %s: %w", r.dst, err))
		}
	}
	for _, r := range add {
		if err := netlink.RouteReplace(r.kernel()); err != nil {
			errs = append(errs, fmt.Errorf("add route to %s via %s: %w", r.dst, r.via, err))
		}
	}
	return len(add) + len(remove), errors.Join(errs...)
}

func (r route) kernel() *netlink.Route {
	k := &netlink.Route{
		Dst:      &net.IPNet{IP: r.dst.Addr().AsSlice(), Mask: net.CIDRMask(r.dst.Bits(), 32)},
		Protocol: routeProtocol,
	}
	if r.via.IsValid() {
		k.Gw = r.via.AsSlice()
	} else {
		k.Type = unix.RTN_UNREACHABLE
	}
	return k
}

func fromKernel(k netlink.Route) route {
	var r route
	if k.Dst != nil {
		addr, _ := netip.AddrFromSlice(k.Dst.IP)
		ones, _ := k.Dst.Mask.Size()
		r.dst = netip.PrefixFrom(addr.Unmap(), ones)
	}
	if via, ok := netip.AddrFromSlice(k.Gw); ok {
		r.via = via.Unmap()
	}
	return r
}
