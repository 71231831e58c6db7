package policy

import (
	"fmt"
	"strings"
)

// Words returns what a rule allows as text: "pods with role=api in namespace shop, on TCP/5432, port \"metrics\" (TCP)".
func (r *Rule) Words() string {
	peers := "any address"
	if !r.AnyPeer {
		var texts []string
		for _, s := range r.Peers {
			texts = append(texts, s.Text)
		}
		peers = strings.Join(texts, "; ")
		if texts == nil {
			peers = "nobody"
		}
	}
	if r.AnyPort {
		return peers + ", on any port"
	}
	var ports []string
	for _, p := range r.Ports {
		ports = append(ports, p.Words())
	}
	for _, n := range r.Named {
		ports = append(ports, fmt.Sprintf("port %q (%s)", n.Name, n.Protocol))
	}
	if ports == nil {
		return peers + ", on no port"
	}
	return peers + ", on " + strings.Join(ports, ", ")
}

// Words returns the range as text.
func (r PortRange) Words() string {
	if r.From == 0 && r.To == maxPort {
		return "any " + string(r.Protocol) + " port"
	}
	return r.String()
}

// Group returns the policies that isolate the pod in a direction, nil if none do.
func (p *Pod) Group(d Direction) *Group {
	if d == Egress {
		return p.Egress
	}
	return p.Ingress
}
