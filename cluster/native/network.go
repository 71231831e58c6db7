//go:build linux

package native

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// ensureNetwork makes a cluster's bridge and rules where they are missing. The caller holds the lock of runDir.
func (s scope) ensureNetwork(subnet netip.Prefix) error {
	mtu, err := hostMTU()
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = s.bridge(), mtu, s.mac("bridge")
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make bridge %s: %w", s.bridge(), err)
	}
	bridge, err := netlink.LinkByName(s.bridge())
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", s.bridge(), err)
	}
	gateway := netip.PrefixFrom(subnet.Masked().Addr().Next(), subnet.Bits())
	if err := netlink.AddrReplace(bridge, address(gateway)); err != nil {
		return fmt.Errorf("give bridge %s the address %s: %w", s.bridge(), gateway, err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("turn on bridge %s: %w", s.bridge(), err)
	}
	if err := forward(); err != nil {
		return err
	}
	return s.ensureRules(subnet)
}

// removeNetwork removes what ensureNetwork made; nil if there is nothing.
func (s scope) removeNetwork() error {
	return errors.Join(removeLink(s.bridge()), s.removeRules())
}

// bridgeSubnet is the range of a bridge that is already there.
func (s scope) bridgeSubnet() (netip.Prefix, bool) {
	link, err := net.InterfaceByName(s.bridge())
	if err != nil {
		return netip.Prefix{}, false
	}
	addrs, _ := link.Addrs()
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			return p.Masked(), true
		}
	}
	return netip.Prefix{}, false
}

// plug connects the network namespace of a process with the bridge.
func (s scope) plug(node string, pid int, addr netip.Addr, subnet netip.Prefix) error {
	bridge, err := netlink.LinkByName(s.bridge())
	if err != nil {
		return fmt.Errorf("find bridge %s: %w", s.bridge(), err)
	}
	if err := removeLink(s.veth(node)); err != nil { // of an earlier life, if the kernel has not come to it yet
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = s.veth(node), bridge.Attrs().MTU, bridge.Attrs().Index
	cable := &netlink.Veth{
		LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid),
		PeerHardwareAddr: s.mac(node), PeerMTU: uint32(attrs.MTU),
	}
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("plug node into bridge %s: %w", s.bridge(), err)
	}
	if err := netlink.LinkSetUp(cable); err != nil {
		return fmt.Errorf("turn on %s: %w", attrs.Name, err)
	}
	return inside(pid, netip.PrefixFrom(addr, subnet.Bits()), subnet.Masked().Addr().Next())
}

// inside sets up lo, eth0 and the default route in the network namespace of a process.
func inside(pid int, addr netip.Prefix, gateway netip.Addr) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("open the node's network: %w", err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("open the node's network: %w", err)
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
			return fmt.Errorf("turn on %s in the node: %w", name, err)
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

// removeLink removes an interface; nil if there is none.
func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if gone := new(netlink.LinkNotFoundError); err == nil || errors.As(err, gone) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, err := net.InterfaceByName(name); err != nil {
		return nil //nolint:nilerr // it went away by itself meanwhile
	}
	return fmt.Errorf("remove interface %s: %w", name, err)
}

// hostMTU is the MTU of the host's way out: a larger packet would not get through. 1500 without one.
func hostMTU() (int, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
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

// forward lets the machine pass packets on. It stays so when clusters are gone: others may have come to rely on it.
func forward() error {
	const file = "/proc/sys/net/ipv4/ip_forward"
	now, err := os.ReadFile(file)
	if err == nil && !bytes.HasPrefix(now, []byte("1")) {
		err = os.WriteFile(file, []byte("1"), 0o644)
	}
	if err != nil {
		return fmt.Errorf("turn on IP forwarding: %w", err)
	}
	return nil
}
