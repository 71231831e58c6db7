package cluster

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// ErrNoSubnet is returned when every range that kl gives to nodes overlaps with one in use.
var ErrNoSubnet = errors.New("no free address range for nodes")

// nodeBits is the length of the prefix that a cluster gets for its nodes.
const nodeBits = 24

// nodeRanges are cut into one /24 a cluster. They keep clear of kl's own defaults, Docker's and home routers'.
func nodeRanges() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.246.0.0/16"), netip.MustParsePrefix("172.31.0.0/16"), netip.MustParsePrefix("192.168.224.0/19"),
	}
}

// FreeSubnet returns the first /24 that overlaps with nothing in taken. The same input gives the same answer, so two
// processes that race choose the same range and the backend's refusal of the second is what keeps them apart.
func FreeSubnet(taken []netip.Prefix) (netip.Prefix, error) {
	for _, r := range nodeRanges() {
		for p := netip.PrefixFrom(r.Addr(), nodeBits); r.Contains(p.Addr()); p = nextSubnet(p) {
			if !overlaps(p, taken) {
				return p, nil
			}
		}
	}
	return netip.Prefix{}, ErrNoSubnet
}

func nextSubnet(p netip.Prefix) netip.Prefix {
	a := p.Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+1<<(32-p.Bits()))
	return netip.PrefixFrom(netip.AddrFrom4(a), p.Bits())
}

func overlaps(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if t.IsValid() && t.Bits() > 0 && p.Overlaps(t) {
			return true
		}
	}
	return false
}

// loadBalancerAddresses is how many of a nodes' range are for Services of type LoadBalancer: .200 to .254 of a /24.
const loadBalancerAddresses = 55

// LoadBalancerRange returns the first and the last address of a nodes' range that are for load balancers: no node has one
// of its own there.
func LoadBalancerRange(subnet netip.Prefix) (first, last netip.Addr) {
	last = nextSubnet(subnet.Masked()).Addr().Prev().Prev() // the one after is broadcast
	a := last.As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])-loadBalancerAddresses+1)
	return netip.AddrFrom4(a), last
}

// NodeSubnet is the range of which a node has an address.
func NodeSubnet(node netip.Addr) netip.Prefix { return netip.PrefixFrom(node, nodeBits).Masked() }

// DynamicRange is the part of a nodes' range from which a backend may assign addresses on its own.
func DynamicRange(subnet netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(subnet.Masked().Addr(), subnet.Bits()+1)
}

// NodeAddress returns a free address of a subnet for a node. The first one is the bridge's, the last are for load
// balancers (see LoadBalancerRange). A node called n<i> gets the
// i-th of the rest if it is free, so that an address shows whose it is; any other node gets the first free one.
func NodeAddress(subnet netip.Prefix, name string, taken func(netip.Addr) bool) (netip.Addr, error) {
	bridge := subnet.Masked().Addr().Next()
	last, _ := LoadBalancerRange(subnet)
	if i, err := strconv.Atoi(strings.TrimPrefix(name, "n")); err == nil && i > 0 && i < 1<<16 {
		b := bridge.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(i))
		if a := netip.AddrFrom4(b); a.Less(last) && !taken(a) {
			return a, nil
		}
	}
	for a := bridge.Next(); a.Less(last); a = a.Next() {
		if !taken(a) {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("find an address for node %s: %s is full", name, subnet)
}

// HostPrefixes returns the ranges that the host reaches by its interfaces and routes; the default route is not one.
func HostPrefixes() ([]netip.Prefix, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list host addresses: %w", err)
	}
	var taken []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			taken = append(taken, p.Masked())
		}
	}
	f, err := os.Open("/proc/net/route")
	if errors.Is(err, os.ErrNotExist) {
		return taken, nil // not Linux: the engine is in a virtual machine and its routes are its own
	}
	if err != nil {
		return nil, fmt.Errorf("list host routes: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if p, ok := parseRoute(lines.Text()); ok {
			taken = append(taken, p)
		}
	}
	return taken, lines.Err()
}

// parseRoute reads a line of /proc/net/route: Iface Destination Gateway Flags RefCnt Use Metric Mask …, with addresses
// as hexadecimal words in the byte order of the machine (little-endian everywhere kl runs).
func parseRoute(line string) (netip.Prefix, bool) {
	f := strings.Fields(line)
	if len(f) < 8 {
		return netip.Prefix{}, false
	}
	dst, err1 := hex.DecodeString(f[1])
	mask, err2 := hex.DecodeString(f[7])
	if err1 != nil || err2 != nil || len(dst) != 4 || len(mask) != 4 {
		return netip.Prefix{}, false
	}
	bits, _ := net.IPv4Mask(mask[3], mask[2], mask[1], mask[0]).Size()
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{dst[3], dst[2], dst[1], dst[0]}), bits), bits > 0
}
