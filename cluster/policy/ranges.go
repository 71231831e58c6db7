package policy

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	netutils "k8s.io/utils/net"
)

// AddrRange is a range of addresses of one family, both ends included.
type AddrRange struct{ From, To netip.Addr }

// Contains reports whether an address is in the range.
func (r AddrRange) Contains(a netip.Addr) bool {
	return a.BitLen() == r.From.BitLen() && r.From.Compare(a) <= 0 && a.Compare(r.To) <= 0
}

func (r AddrRange) String() string {
	if r.From == r.To {
		return r.From.String()
	}
	return r.From.String() + "-" + r.To.String()
}

// parseCIDR parses a CIDR as the API server does: it tolerates leading zeros and host bits.
func parseCIDR(s string) (AddrRange, error) {
	_, n, err := netutils.ParseCIDRSloppy(s)
	if err != nil {
		return AddrRange{}, fmt.Errorf("parse CIDR %q: %w", s, err)
	}
	from, _ := netip.AddrFromSlice(n.IP)
	last := make(net.IP, len(n.IP))
	for i := range n.IP {
		last[i] = n.IP[i] | ^n.Mask[i]
	}
	to, _ := netip.AddrFromSlice(last)
	return AddrRange{from, to}, nil
}

// subtract returns r without the holes, ordered.
func subtract(r AddrRange, holes []AddrRange) []AddrRange {
	holes = slices.Clone(holes)
	slices.SortFunc(holes, func(a, b AddrRange) int { return a.From.Compare(b.From) })
	var left []AddrRange
	from := r.From
	for _, h := range holes {
		if h.From.BitLen() != r.From.BitLen() || h.To.Compare(from) < 0 || h.From.Compare(r.To) > 0 {
			continue
		}
		if h.From.Compare(from) > 0 {
			left = append(left, AddrRange{from, h.From.Prev()})
		}
		if h.To.Compare(r.To) >= 0 {
			return left
		}
		from = h.To.Next()
	}
	return append(left, AddrRange{from, r.To})
}

// PortRange is a range of ports of one protocol, both ends included. 0–65535 stands for the whole protocol.
type PortRange struct {
	Protocol corev1.Protocol
	From, To uint16
}

// Contains reports whether a port is in the range.
func (r PortRange) Contains(proto corev1.Protocol, port uint16) bool {
	return proto == r.Protocol && r.From <= port && port <= r.To
}

func (r PortRange) String() string {
	switch {
	case r.From == 0 && r.To == maxPort:
		return string(r.Protocol)
	case r.From == r.To:
		return fmt.Sprintf("%s/%d", r.Protocol, r.From)
	}
	return fmt.Sprintf("%s/%d-%d", r.Protocol, r.From, r.To)
}

const maxPort = 65535

// mergePorts orders ranges and joins those that overlap or are adjacent.
func mergePorts(in []PortRange) []PortRange {
	slices.SortFunc(in, func(a, b PortRange) int {
		if a.Protocol != b.Protocol {
			if a.Protocol < b.Protocol {
				return -1
			}
			return 1
		}
		return int(a.From) - int(b.From)
	})
	var out []PortRange
	for _, r := range in {
		if n := len(out); n > 0 && out[n-1].Protocol == r.Protocol && int(r.From) <= int(out[n-1].To)+1 {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}
