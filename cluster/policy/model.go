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

// Model is the compiled form of all policies of a cluster. It is immutable and safe for concurrent use. All lists are ordered,
// so that equal objects give equal models.
type Model struct {
	Pods     []*Pod                // by namespace and name
	Policies []*Policy             // by namespace and name
	Peers    map[string]*PeerSet   // by ID
	Named    map[string]*NamedPort // by ID
	Groups   map[string]*Group     // by ID
	Problems []string              // peers and ports that were not understood and match nothing

	byAddr   map[netip.Addr]*Pod
	byName   map[string]*Pod
	nodes    map[netip.Addr]string
	nodeAddr map[string]netip.Addr // the first one of its status
	gateway  netip.Addr
}

// Pod is a pod that has an address and has not ended.
type Pod struct {
	Namespace, Name, Node string
	Addrs                 []netip.Addr
	HostNetwork           bool   // Addrs are the node's; never in a group or a peer set
	Ingress               *Group // nil: not isolated
	Egress                *Group // nil: not isolated
}

// Key is namespace/name.
func (p *Pod) Key() string { return p.Namespace + "/" + p.Name }

// Group is a set of policies that isolate pods in one direction: what none of them allows is denied.
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

// Rule allows connections of any of its peers on any of its ports.
type Rule struct {
	Index   int  // position in the policy's ingress or egress list, from 0
	AnyPeer bool // any address at all; Peers is empty
	Peers   []*PeerSet
	AnyPort bool        // any protocol and port; Ports and Named are empty
	Ports   []PortRange // merged and ordered
	Named   []*NamedPort
}

// PeerSet is a set of addresses: of the pods that a selector matches, in Addrs, or of an ipBlock, in Ranges. Both are ordered
// and without duplicates.
type PeerSet struct {
	ID     string // derived from what it selects, not from its content
	Text   string // for people
	Block  bool
	Addrs  []netip.Addr
	Ranges []AddrRange
}

// Contains reports whether an address is in the set.
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

// NamedPort is the ports of that name of all pods.
type NamedPort struct {
	ID       string
	Name     string
	Protocol corev1.Protocol
	Targets  []Target // ordered by address; at most one per address
}

// Contains reports whether a port of the pod at an address has the name.
func (n *NamedPort) Contains(a netip.Addr, proto corev1.Protocol, port uint16) bool {
	i := sort.Search(len(n.Targets), func(i int) bool { return n.Targets[i].Addr.Compare(a) >= 0 })
	return proto == n.Protocol && i < len(n.Targets) && n.Targets[i] == Target{a, port}
}

// Target is a port of a pod.
type Target struct {
	Addr netip.Addr
	Port uint16
}

// PodAt returns the pod that has an address of the pod network, nil if none does.
func (m *Model) PodAt(a netip.Addr) *Pod { return m.byAddr[a] }

// Pod returns a pod by name, also one on the host network; nil if the model has none of that name.
func (m *Model) Pod(namespace, name string) *Pod { return m.byName[namespace+"/"+name] }

// NodeAt returns the name of the node that has an address.
func (m *Model) NodeAt(a netip.Addr) (string, bool) {
	n, ok := m.nodes[a]
	return n, ok
}

// Isolates reports whether any policy isolates in a direction, even one that selects no pod.
func (m *Model) Isolates(d Direction) bool {
	for _, p := range m.Policies {
		if d == Ingress && p.IsolatesIngress || d == Egress && p.IsolatesEgress {
			return true
		}
	}
	return false
}
