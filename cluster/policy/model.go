package policy

import (
	"net/netip"
	"sort"

	corev1 "k8s.io/api/core/v1"
)

// Direction is a side of a connection.
type Direction string

// The two directions, as seen from the pod that a policy selects.
const (
	Ingress Direction = "ingress"
	Egress  Direction = "egress"
)

// Model is the compiled form of all policies of a cluster. It is immutable and safe for concurrent use. Everything in
// it is ordered, so that equal objects give equal models.
type Model struct {
	Pods     []*Pod                // by namespace and name
	Policies []*Policy             // by namespace and name
	Peers    map[string]*PeerSet   // by ID
	Named    map[string]*NamedPort // by ID
	Groups   map[string]*Group     // by ID
	Problems []string              // what could not be understood and therefore matches nothing

	byAddr   map[netip.Addr]*Pod
	byName   map[string]*Pod
	nodes    map[netip.Addr]string
	nodeAddr map[string]netip.Addr // the first one its status shows
	gateway  netip.Addr
}

// Pod is a pod that takes part in traffic.
type Pod struct {
	Namespace, Name, Node string
	Addrs                 []netip.Addr
	HostNetwork           bool   // Addrs are the node's; never in a group or a peer set
	Ingress               *Group // nil: not isolated
	Egress                *Group // nil: not isolated
}

// Key is namespace/name.
func (p *Pod) Key() string { return p.Namespace + "/" + p.Name }

// Group is a set of policies that isolate the same pods in one direction: what none of them allows is denied.
type Group struct {
	ID        string
	Direction Direction
	Policies  []*Policy // ordered, not empty
}

// Names returns the namespace/name of each policy of the group.
func (g *Group) Names() []string {
	names := make([]string, len(g.Policies))
	for i, p := range g.Policies {
		names[i] = p.Key()
	}
	return names
}

// Policy is one NetworkPolicy.
type Policy struct {
	ID              string // usable as part of a name in nftables
	Namespace, Name string
	IsolatesIngress bool
	IsolatesEgress  bool
	Ingress         []*Rule // empty unless IsolatesIngress
	Egress          []*Rule // empty unless IsolatesEgress
	Selects         int     // number of pods
}

// Key is namespace/name.
func (p *Policy) Key() string { return p.Namespace + "/" + p.Name }

// Rules returns the rules of a direction.
func (p *Policy) Rules(d Direction) []*Rule {
	if d == Ingress {
		return p.Ingress
	}
	return p.Egress
}

// Rule allows connections with one of its peers to one of its ports.
type Rule struct {
	Index   int  // position in the policy's ingress or egress list, from 0
	AnyPeer bool // any address at all; Peers is empty
	Peers   []*PeerSet
	AnyPort bool        // any protocol and port; Ports and Named are empty
	Ports   []PortRange // merged and ordered
	Named   []*NamedPort
}

// PeerSet is a set of addresses: of the pods that a selector matches, or of an ipBlock. Exactly one of Addrs and Ranges
// is used; both are ordered, and neither has duplicates.
type PeerSet struct {
	ID     string // derived from what it selects, not from its content
	Text   string // in words
	Block  bool
	Addrs  []netip.Addr
	Ranges []AddrRange
}

// Contains tells whether an address is in the set.
func (s *PeerSet) Contains(a netip.Addr) bool {
	if !s.Block {
		i := sort.Search(len(s.Addrs), func(i int) bool { return s.Addrs[i].Compare(a) >= 0 })
		return i < len(s.Addrs) && s.Addrs[i] == a
	}
	for _, r := range s.Ranges {
		if r.Contains(a) {
			return true
		}
	}
	return false
}

// NamedPort is where a port of that name is found on the pods that have one.
type NamedPort struct {
	ID       string
	Name     string
	Protocol corev1.Protocol
	Targets  []Target // ordered by address; at most one per address
}

// Contains tells whether the port of a pod has the name.
func (n *NamedPort) Contains(a netip.Addr, proto corev1.Protocol, port uint16) bool {
	i := sort.Search(len(n.Targets), func(i int) bool { return n.Targets[i].Addr.Compare(a) >= 0 })
	return proto == n.Protocol && i < len(n.Targets) && n.Targets[i] == Target{a, port}
}

// Target is a port of a pod.
type Target struct {
	Addr netip.Addr
	Port uint16
}

// PodAt returns the pod that holds an address of the pod network, nil if none does.
func (m *Model) PodAt(a netip.Addr) *Pod { return m.byAddr[a] }

// Pod returns a pod by name, those on the host network too; nil if there is none that takes part.
func (m *Model) Pod(namespace, name string) *Pod { return m.byName[namespace+"/"+name] }

// NodeAt returns the name of the node that has an address.
func (m *Model) NodeAt(a netip.Addr) (string, bool) {
	n, ok := m.nodes[a]
	return n, ok
}

// Isolates tells whether any policy isolates pods in a direction, selected pods or not.
func (m *Model) Isolates(d Direction) bool {
	for _, p := range m.Policies {
		if d == Ingress && p.IsolatesIngress || d == Egress && p.IsolatesEgress {
			return true
		}
	}
	return false
}
