package config

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/klkube/kl/cluster"
)

// listening is a host port that a Spec takes.
type listening struct {
	protocol string
	address  netip.Addr
	port     int
	by       string // who takes it, for messages
}

// ports are the host ports that have been seen so far.
type ports struct{ taken []listening }

// newPorts begins with the API server's port, if the Spec names it.
func newPorts(k cluster.Kubernetes) *ports {
	p := &ports{}
	if k.APIServerPort != 0 {
		p.taken = append(p.taken, listening{"tcp", netip.AddrFrom4([4]byte{127, 0, 0, 1}), k.APIServerPort, "kubernetes.apiServerPort"})
	}
	return p
}

// take returns who has the port already; empty if nobody does.
func (p *ports) take(l listening) (by string) {
	for _, other := range p.taken {
		if l.protocol == other.protocol && l.port == other.port && overlap(l.address, other.address) {
			return other.by
		}
	}
	p.taken = append(p.taken, l)
	return ""
}

// overlap reports whether two sockets cannot listen on one port: :: takes IPv4 as well.
func overlap(a, b netip.Addr) bool {
	a, b = a.Unmap(), b.Unmap()
	switch {
	case a == b, a == netip.IPv6Unspecified(), b == netip.IPv6Unspecified():
		return true
	case a.IsUnspecified():
		return b.Is4()
	case b.IsUnspecified():
		return a.Is4()
	}
	return false
}

func (v *validator) port(path string, g cluster.NodeGroup, p cluster.Port, taken *ports) {
	for _, end := range []struct {
		name string
		port int
	}{{"host", p.Host}, {"node", p.Node}} {
		if end.port < 1 || end.port > 65535 {
			v.bad(path+"."+end.name, "%d is not a port: use 1 to 65535", end.port)
		}
	}
	proto := cmp.Or(p.Protocol, "tcp")
	v.oneOf(path+".protocol", proto, []string{"tcp", "udp", "sctp"})
	if g.Count > 1 {
		v.bad(path, "a host port leads to one node, but this group has %d: give one node a group of its own", g.Count)
	}
	text := p.ListenAddress()
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		v.bad(path+".address", "%q is not an IP address", text)
		return
	case !addr.IsUnspecified() && !addr.IsLoopback() && v.m.HasIP != nil && !v.m.HasIP(addr.Unmap().WithZone("")):
		v.bad(path+".address", "%s is not an address of this machine: leave it out for 127.0.0.1, or use 0.0.0.0 for all", text)
	}
	if by := taken.take(listening{proto, addr, p.Host, path}); by != "" {
		v.bad(path+".host", "%s port %d is taken by %s already", proto, p.Host, by)
	}
}

// PortClashes returns what is wrong with the published ports of a Spec whose API server has a port that the file does not
// say: the one of the cluster that exists.
func PortClashes(s cluster.Spec, apiPort int) Problems {
	v := &validator{w: newWalker("cluster " + s.Name)}
	taken := newPorts(cluster.Kubernetes{APIServerPort: apiPort})
	for i, g := range s.Nodes {
		for j, p := range g.Ports {
			v.port(fmt.Sprintf("nodes[%d].ports[%d]", i, j), g, p, taken)
		}
	}
	return v.w.problems
}
