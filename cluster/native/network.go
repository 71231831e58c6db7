//go:build linux

package native

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/klkube/kl/cluster/netlist"
)

// ensureNetwork makes a cluster's bridge and firewall rules if they are missing. The caller holds the machine's lock.
func (s scope) ensureNetwork(subnet netip.Prefix) error {
	bridge, err := s.ensureBridge(subnet)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("bring up bridge %s: %w", s.bridge(), err)
	}
	if err := enableForwarding(); err != nil {
		return err
	}
	return s.ensureRules(subnet)
}

// ensureBridge makes a cluster's bridge if it is missing. The bridge has the first address of the subnet, also while it is down. The
// caller holds the machine's lock.
func (s scope) ensureBridge(subnet netip.Prefix) (netlink.Link, error) {
	mtu, err := hostMTU()
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = s.bridge(), mtu, s.mac("bridge")
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make bridge %s: %w", s.bridge(), err)
	}
	bridge, err := netlink.LinkByName(s.bridge())
	if err != nil {
		return nil, fmt.Errorf("find bridge %s: %w", s.bridge(), err)
	}
	gateway := netip.PrefixFrom(subnet.Masked().Addr().Next(), subnet.Bits())
	if err := netlink.AddrReplace(bridge, address(gateway)); err != nil {
		return nil, fmt.Errorf("give bridge %s the address %s: %w", s.bridge(), gateway, err)
	}
	return bridge, nil
}

// removeNetwork removes what ensureNetwork made. It returns nil if there is nothing. The caller holds the machine's lock.
func (s scope) removeNetwork() error {
	return errors.Join(removeLink(s.bridge()), s.removeRules(), restoreForwarding())
}

// bridgeSubnet returns the address range of the cluster's bridge, if that exists.
func (s scope) bridgeSubnet() (netip.Prefix, bool) {
	link, err := netlink.LinkByName(s.bridge())
	if err != nil {
		return netip.Prefix{}, false
	}
	addrs, err := netlist.Addresses(link)
	if err != nil || len(addrs) == 0 {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(addrs[0].IPNet.String())
	return p.Masked(), err == nil
}

// connect joins the network namespace of a process to the bridge with a veth pair.
func (s scope) connect(node string, pid int, addr netip.Addr, subnet netip.Prefix) error {
	bridge, err := netlink.LinkByName(s.bridge())
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", s.bridge(), err)
	}
	if err := s.disconnect(node); err != nil { // of an earlier run, if the kernel has not removed it yet
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = s.veth(node), bridge.Attrs().MTU, bridge.Attrs().Index
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid),
		PeerHardwareAddr: s.mac(node), PeerMTU: uint32(attrs.MTU),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("connect node to bridge %s: %w", s.bridge(), err)
	}
	gateway := subnet.Masked().Addr().Next()
	if err := s.pin(node, addr, gateway); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("bring up %s: %w", attrs.Name, err)
	}
	return configureNode(pid, netip.PrefixFrom(addr, subnet.Bits()), gateway)
}

// configureNode sets up lo, eth0 and the default route in the network namespace of a process.
func configureNode(pid int, addr netip.Prefix, gateway netip.Addr) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("open the node's network namespace: %w", err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("open the node's network namespace: %w", err)
	}
	defer h.Close()
	for _, name := range []string{"lo", "eth0"} {
		link, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s in the node: %w", name, err)
		}
		if name == "eth0" {
			if err := h.AddrReplace(link, address(addr)); err != nil {
				return fmt.Errorf("give the node the address %s: %w", addr, err)
			}
		}
		if err := h.LinkSetUp(link); err != nil {
			return fmt.Errorf("bring up %s in the node: %w", name, err)
		}
	}
	if err := h.RouteReplace(&netlink.Route{Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("set the node's default route: %w", err)
	}
	return nil
}

func address(p netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
}

// removeLink removes an interface. It returns nil if there is none.
func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if gone := new(netlink.LinkNotFoundError); err == nil || errors.As(err, gone) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, err := net.InterfaceByName(name); err != nil {
		return nil //nolint:nilerr // it was removed in the meantime
	}
	return fmt.Errorf("remove interface %s: %w", name, err)
}

// hostMTU returns the MTU of the interface of the host's default route, at most 1500; 1500 if there is no default route.
func hostMTU() (int, error) {
	routes, err := netlist.Routes(&netlink.Route{}, 0)
	if err != nil {
		return 0, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			return min(link.Attrs().MTU, 1500), nil
		}
	}
	return 1500, nil
}
