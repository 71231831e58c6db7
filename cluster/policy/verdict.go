package policy

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Reason is why one side of a connection allows or denies it.
type Reason string

// The reasons of a decision.
const (
	NotAPod     Reason = "NotAPod"     // nothing is enforced on that side
	NotIsolated Reason = "NotIsolated" // no policy selects the pod in that direction
	Itself      Reason = "Itself"      // both ends are the same pod
	OwnNode     Reason = "OwnNode"     // between the pod and the node it runs on
	RuleAllows  Reason = "RuleAllows"  // Policy and Rule say which
	NoRule      Reason = "NoRule"      // no rule of the policies in Isolated allows it
)

// Decision is the verdict of one side of a connection.
type Decision struct {
	Allowed  bool     `json:"allowed"`
	Reason   Reason   `json:"reason"`
	Policy   string   `json:"policy,omitempty"`   // namespace/name of the one that allows
	Rule     int      `json:"rule"`               // index in its ingress or egress list, -1 if none decides
	Isolated []string `json:"isolated,omitempty"` // namespace/name of the policies that isolate the pod
	Text     string   `json:"text"`               // all of this for people
}

// Verdict is whether a connection is allowed, which both sides must do.
type Verdict struct {
	From     string          `json:"from"` // namespace/name of a pod, node/name, or an address
	To       string          `json:"to"`
	FromAddr netip.Addr      `json:"fromAddr"`
	ToAddr   netip.Addr      `json:"toAddr"`
	Protocol corev1.Protocol `json:"protocol"`
	Port     uint16          `json:"port"`
	Allowed  bool            `json:"allowed"`
	Egress   Decision        `json:"egress"`  // of the side that connects
	Ingress  Decision        `json:"ingress"` // of the side that is connected to
}

// Denied returns the direction that denies and its decision, false if none does; egress comes first, as for a packet.
func (v Verdict) Denied() (Direction, Decision, bool) {
	switch {
	case !v.Egress.Allowed:
		return Egress, v.Egress, true
	case !v.Ingress.Allowed:
		return Ingress, v.Ingress, true
	}
	return "", Decision{}, false
}

// Verdict judges a new connection between two addresses to a port of the real destination, not of a Service. Protocols
// other than TCP, UDP and SCTP are only allowed by rules without ports.
func (m *Model) Verdict(from, to netip.Addr, proto corev1.Protocol, port uint16) Verdict {
	v := Verdict{
		From: m.Describe(from), To: m.Describe(to), FromAddr: from, ToAddr: to, Protocol: proto, Port: port,
		Egress: m.decide(Egress, from, to, proto, port), Ingress: m.decide(Ingress, to, from, proto, port),
	}
	v.Allowed = v.Egress.Allowed && v.Ingress.Allowed
	return v
}

// Describe names what is at an address: a pod as namespace/name, a node as node/name, else the address.
func (m *Model) Describe(a netip.Addr) string {
	if p := m.byAddr[a]; p != nil {
		return p.Key()
	}
	if n, ok := m.nodes[a]; ok {
		return "node/" + n
	}
	if a == m.gateway {
		return "gateway"
	}
	return a.String()
}

// decide judges one side of a connection: self is the address of that side.
func (m *Model) decide(d Direction, self, peer netip.Addr, proto corev1.Protocol, port uint16) Decision {
	pod := m.byAddr[self]
	if pod == nil {
		return Decision{Allowed: true, Reason: NotAPod, Rule: -1, Text: m.Describe(self) + " is not a pod: no policy applies"}
	}
	if m.byAddr[peer] == pod {
		return Decision{Allowed: true, Reason: Itself, Rule: -1, Text: "a pod may always talk to itself"}
	}
	if m.ownNode(d, pod, peer) {
		return Decision{Allowed: true, Reason: OwnNode, Rule: -1, Text: "a pod and the node it runs on may always talk"}
	}
	group := pod.Ingress
	if d == Egress {
		group = pod.Egress
	}
	if group == nil {
		return Decision{Allowed: true, Reason: NotIsolated, Rule: -1, Text: fmt.Sprintf("no policy selects %s for %s", pod.Key(), d)}
	}
	target := self
	if d == Egress {
		target = peer
	}
	for _, p := range group.Policies {
		for _, r := range p.Rules(d) {
			if text, ok := r.match(peer, target, proto, port); ok {
				return Decision{
					Allowed: true, Reason: RuleAllows, Policy: p.Key(), Rule: r.Index, Isolated: group.Names(),
					Text: fmt.Sprintf("policy %s allows it: %s rule %d (%s)", p.Key(), d, r.Index+1, text),
				}
			}
		}
	}
	return Decision{
		Reason: NoRule, Rule: -1, Isolated: group.Names(),
		Text: fmt.Sprintf("%s is isolated for %s by %s, and no rule allows %s %s",
			pod.Key(), d, strings.Join(group.Names(), ", "), m.Describe(peer), portText(proto, port)),
	}
}

// ownNode reports whether peer is the node that a pod runs on. As a source, the gateway address is the node too: the agent
// connects from there.
func (m *Model) ownNode(d Direction, pod *Pod, peer netip.Addr) bool {
	if d == Ingress && peer == m.gateway && m.gateway.IsValid() {
		return true
	}
	n, ok := m.nodes[peer]
	return ok && n == pod.Node
}

// match reports whether the rule allows a connection with a peer, and returns the matching peer and port as text. target is
// the address of the destination.
func (r *Rule) match(peer, target netip.Addr, proto corev1.Protocol, port uint16) (string, bool) {
	who := "any peer"
	if !r.AnyPeer {
		s := r.peer(peer)
		if s == nil {
			return "", false
		}
		who = s.Text
	}
	if r.AnyPort {
		return who + ", any port", true
	}
	for _, p := range r.Ports {
		if p.Contains(proto, port) {
			return who + ", " + p.String(), true
		}
	}
	for _, n := range r.Named {
		if n.Contains(target, proto, port) {
			return fmt.Sprintf("%s, port %q = %s/%d", who, n.Name, proto, port), true
		}
	}
	return "", false
}

func (r *Rule) peer(a netip.Addr) *PeerSet {
	for _, s := range r.Peers {
		if s.Contains(a) {
			return s
		}
	}
	return nil
}

func portText(proto corev1.Protocol, port uint16) string {
	if port == 0 {
		return string(proto)
	}
	return fmt.Sprintf("%s port %d", proto, port)
}
