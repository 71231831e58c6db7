package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Objects are the objects that a model is compiled from. They are not changed.
type Objects struct {
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*networkingv1.NetworkPolicy
	Nodes      []*corev1.Node
}

// Options are what the objects do not contain.
type Options struct {
	// Gateway is the address at which every node offers the API. The zero value means there is none.
	Gateway netip.Addr
}

// Compile makes the model of a cluster. It cannot fail: a peer or port that it does not understand matches nothing, so that
// less is allowed rather than more, and is reported in Model.Problems.
func Compile(o Objects, opts Options) *Model {
	c := &compiler{
		m: &Model{
			Peers: map[string]*PeerSet{}, Named: map[string]*NamedPort{}, Groups: map[string]*Group{},
			byAddr: map[netip.Addr]*Pod{}, byName: map[string]*Pod{}, nodes: map[netip.Addr]string{}, nodeAddr: map[string]netip.Addr{},
			gateway: opts.Gateway,
		},
	}
	c.addNodes(o.Nodes)
	c.index = newIndex(o.Namespaces, c.addPods(o.Pods))
	policies := slices.Clone(o.Policies)
	slices.SortFunc(policies, func(a, b *networkingv1.NetworkPolicy) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	for _, np := range policies {
		c.addPolicy(np)
	}
	c.group()
	c.resolveNamed()
	return c.m
}

type compiler struct {
	m     *Model
	index *index
}

func (c *compiler) problem(np *networkingv1.NetworkPolicy, err error) {
	c.m.Problems = append(c.m.Problems, fmt.Sprintf("%s/%s: %v", np.Namespace, np.Name, err))
}

func (c *compiler) addNodes(nodes []*corev1.Node) {
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil {
				c.m.nodes[ip.Unmap()] = n.Name
				if !c.m.nodeAddr[n.Name].IsValid() {
					c.m.nodeAddr[n.Name] = ip.Unmap()
				}
			}
		}
		// The node's end of its pods' links has the first address of its pod range.
		for _, s := range slices.Concat([]string{n.Spec.PodCIDR}, n.Spec.PodCIDRs) {
			if p, err := netip.ParsePrefix(s); err == nil {
				c.m.nodes[p.Masked().Addr().Next()] = n.Name
			}
		}
	}
	if c.m.gateway.IsValid() {
		delete(c.m.nodes, c.m.gateway)
	}
}

// addPolicy compiles one policy. The API server rejects or drops fields it does not know, so no restriction is overlooked.
func (c *compiler) addPolicy(np *networkingv1.NetworkPolicy) {
	p := &Policy{ID: name(np.Namespace+"/"+np.Name, ""), Namespace: np.Namespace, Name: np.Name}
	p.IsolatesIngress, p.IsolatesEgress = isolates(np)
	selector, err := metav1.LabelSelectorAsSelector(&np.Spec.PodSelector)
	if err != nil {
		c.problem(np, fmt.Errorf("podSelector: %w", err))
		return
	}
	if p.IsolatesIngress {
		for i, r := range np.Spec.Ingress {
			p.Ingress = append(p.Ingress, c.rule(np, i, r.From, r.Ports))
		}
	}
	if p.IsolatesEgress {
		for i, r := range np.Spec.Egress {
			p.Egress = append(p.Egress, c.rule(np, i, r.To, r.Ports))
		}
	}
	for _, id := range c.index.in(np.Namespace, selector) {
		id.policies = append(id.policies, p)
		p.Selects += len(id.pods)
	}
	c.m.Policies = append(c.m.Policies, p)
}

// isolates applies the default of policyTypes: ingress always, egress if there are egress rules.
func isolates(np *networkingv1.NetworkPolicy) (ingress, egress bool) {
	if len(np.Spec.PolicyTypes) == 0 {
		return true, len(np.Spec.Egress) > 0
	}
	return slices.Contains(np.Spec.PolicyTypes, networkingv1.PolicyTypeIngress),
		slices.Contains(np.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
}

func (c *compiler) rule(np *networkingv1.NetworkPolicy, i int, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) *Rule {
	r := &Rule{Index: i, AnyPeer: len(peers) == 0, AnyPort: len(ports) == 0}
	for _, peer := range peers {
		s, err := c.peerSet(np.Namespace, peer)
		if err != nil {
			c.problem(np, err)
			continue
		}
		if !slices.Contains(r.Peers, s) {
			r.Peers = append(r.Peers, s)
		}
	}
	for _, port := range ports {
		if err := c.port(r, port); err != nil {
			c.problem(np, err)
		}
	}
	r.Ports = mergePorts(r.Ports)
	return r
}

// group assigns a group to all pods that the same policies isolate.
func (c *compiler) group() {
	for _, id := range c.index.all {
		ingress, egress := c.groupOf(Ingress, id.policies), c.groupOf(Egress, id.policies)
		for _, p := range id.pods {
			p.Ingress, p.Egress = ingress, egress
		}
	}
}

func (c *compiler) groupOf(d Direction, policies []*Policy) *Group {
	var members []*Policy
	var key strings.Builder
	key.WriteString(string(d))
	for _, p := range policies { // in the order of the model
		if d == Ingress && p.IsolatesIngress || d == Egress && p.IsolatesEgress {
			members = append(members, p)
			key.WriteString("\n" + p.Key())
		}
	}
	if members == nil {
		return nil
	}
	id := hash(key.String())
	g := c.m.Groups[id]
	if g == nil {
		g = &Group{ID: id, Direction: d, Policies: members}
		c.m.Groups[id] = g
	}
	return g
}
