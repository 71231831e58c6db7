package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// String returns the whole model as text. Equal models give equal text.
func (m *Model) String() string {
	var b strings.Builder
	for _, p := range m.Pods {
		fmt.Fprintf(&b, "pod %s node=%s addrs=%v", p.Key(), p.Node, p.Addrs)
		if p.HostNetwork {
			b.WriteString(" hostNetwork")
		}
		if p.Ingress != nil {
			fmt.Fprintf(&b, " ingress=%s", p.Ingress.ID)
		}
		if p.Egress != nil {
			fmt.Fprintf(&b, " egress=%s", p.Egress.ID)
		}
		b.WriteByte('\n')
	}
	for _, id := range slices.Sorted(maps.Keys(m.Groups)) {
		fmt.Fprintf(&b, "group %s %s %s\n", id, m.Groups[id].Direction, strings.Join(m.Groups[id].Names(), " "))
	}
	for _, p := range m.Policies {
		fmt.Fprintf(&b, "policy %s id=%s selects=%d\n", p.Key(), p.ID, p.Selects)
		for _, d := range []Direction{Ingress, Egress} {
			if d == Ingress && !p.IsolatesIngress || d == Egress && !p.IsolatesEgress {
				continue
			}
			fmt.Fprintf(&b, "  isolates %s\n", d)
			for _, r := range p.Rules(d) {
				fmt.Fprintf(&b, "  rule %d: %s\n", r.Index, r)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.Peers)) {
		s := m.Peers[id]
		if s.Block {
			fmt.Fprintf(&b, "peers %s (%s) %v\n", id, s.Text, s.Ranges)
		} else {
			fmt.Fprintf(&b, "peers %s (%s) %v\n", id, s.Text, s.Addrs)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.Named)) {
		fmt.Fprintf(&b, "port %s", id)
		for _, t := range m.Named[id].Targets {
			fmt.Fprintf(&b, " %s:%d", t.Addr, t.Port)
		}
		b.WriteByte('\n')
	}
	for _, p := range m.Problems {
		fmt.Fprintf(&b, "problem %s\n", p)
	}
	return b.String()
}

// String returns the IDs of the peers and ports that a rule allows.
func (r *Rule) String() string {
	var peers, ports []string
	for _, s := range r.Peers {
		peers = append(peers, s.ID)
	}
	for _, p := range r.Ports {
		ports = append(ports, p.String())
	}
	for _, n := range r.Named {
		ports = append(ports, n.ID)
	}
	if r.AnyPeer {
		peers = []string{"any"}
	}
	if r.AnyPort {
		ports = []string{"any"}
	}
	return fmt.Sprintf("peers [%s] ports [%s]", strings.Join(peers, " "), strings.Join(ports, " "))
}
