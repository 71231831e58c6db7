package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// peerSet returns the set of a peer. Peers that select the same share one set.
func (c *compiler) peerSet(namespace string, peer networkingv1.NetworkPolicyPeer) (*PeerSet, error) {
	switch {
	case peer.IPBlock != nil:
		return c.blockSet(peer.IPBlock)
	case peer.PodSelector == nil && peer.NamespaceSelector == nil:
		return nil, errors.New("peer without a selector")
	}
	pods := &metav1.LabelSelector{} // a namespaceSelector alone means all pods of these namespaces
	if peer.PodSelector != nil {
		pods = peer.PodSelector
	}
	ps, err := metav1.LabelSelectorAsSelector(pods)
	if err != nil {
		return nil, fmt.Errorf("podSelector of a peer: %w", err)
	}
	if peer.NamespaceSelector == nil {
		text := describe("pods", ps) + " in namespace " + namespace
		return c.intern("pods", text, func(s *PeerSet) { s.Addrs = addrs(c.index.in(namespace, ps)) }), nil
	}
	ns, err := metav1.LabelSelectorAsSelector(peer.NamespaceSelector)
	if err != nil {
		return nil, fmt.Errorf("namespaceSelector of a peer: %w", err)
	}
	text := describe("pods", ps) + " in " + describe("namespaces", ns)
	return c.intern("pods", text, func(s *PeerSet) { s.Addrs = addrs(c.index.across(ns, ps)) }), nil
}

// blockSet compiles an ipBlock. A block with an exception that is not understood matches nothing: without the exception it
// would allow too much.
func (c *compiler) blockSet(b *networkingv1.IPBlock) (*PeerSet, error) {
	r, err := parseCIDR(b.CIDR)
	if err != nil {
		return nil, fmt.Errorf("ipBlock: %w", err)
	}
	holes := make([]AddrRange, len(b.Except))
	for i, e := range b.Except {
		if holes[i], err = parseCIDR(e); err != nil {
			return nil, fmt.Errorf("ipBlock: except: %w", err)
		}
	}
	text := "addresses in " + b.CIDR
	if len(b.Except) > 0 {
		text += " except " + strings.Join(b.Except, ", ")
	}
	return c.intern("block", text, func(s *PeerSet) { s.Block, s.Ranges = true, subtract(r, holes) }), nil
}

// intern returns the set with a text, which must determine what is in the set. fill is called if the set is new.
func (c *compiler) intern(kind, text string, fill func(*PeerSet)) *PeerSet {
	id := kind + "-" + hash(text)
	s := c.m.Peers[id]
	if s == nil {
		s = &PeerSet{ID: id, Text: text}
		fill(s)
		c.m.Peers[id] = s
	}
	return s
}

// port adds a port of a policy to a rule.
func (c *compiler) port(r *Rule, p networkingv1.NetworkPolicyPort) error {
	proto := corev1.ProtocolTCP
	if p.Protocol != nil {
		proto = *p.Protocol
	}
	switch {
	case p.Port == nil:
		r.Ports = append(r.Ports, PortRange{proto, 0, maxPort})
	case p.Port.Type == intstr.String:
		id := "named-" + strings.ToLower(string(proto)) + "-" + name(p.Port.StrVal, string(proto))
		n := c.m.Named[id]
		if n == nil {
			n = &NamedPort{ID: id, Name: p.Port.StrVal, Protocol: proto}
			c.m.Named[id] = n
		}
		if !slices.Contains(r.Named, n) {
			r.Named = append(r.Named, n)
		}
	default:
		from, to := p.Port.IntVal, p.Port.IntVal
		if p.EndPort != nil {
			to = *p.EndPort
		}
		if from < 1 || to > maxPort || to < from {
			return fmt.Errorf("ports %d to %d are not a range", from, to)
		}
		r.Ports = append(r.Ports, PortRange{proto, uint16(from), uint16(to)})
	}
	return nil
}

// resolveNamed finds the named ports that policies use in all pods.
func (c *compiler) resolveNamed() {
	if len(c.m.Named) == 0 {
		return
	}
	type key struct {
		name  string
		proto corev1.Protocol
	}
	wanted := map[key]*NamedPort{}
	for _, n := range c.m.Named {
		wanted[key{n.Name, n.Protocol}] = n
	}
	for _, id := range c.index.all {
		for i, p := range id.pods {
			found := map[key]bool{}
			eachPort(id.objects[i], func(cp corev1.ContainerPort) {
				k := key{cp.Name, orTCP(cp.Protocol)}
				n := wanted[k]
				if n == nil || found[k] || cp.ContainerPort < 1 || cp.ContainerPort > maxPort {
					return
				}
				found[k] = true // the first container that has it, as for Services
				for _, a := range p.Addrs {
					n.Targets = append(n.Targets, Target{a, uint16(cp.ContainerPort)})
				}
			})
		}
	}
	for _, n := range wanted {
		slices.SortFunc(n.Targets, func(a, b Target) int { return a.Addr.Compare(b.Addr) })
	}
}

// eachPort visits the ports of containers and sidecars.
func eachPort(p *corev1.Pod, visit func(corev1.ContainerPort)) {
	for i := range p.Spec.Containers {
		for _, cp := range p.Spec.Containers[i].Ports {
			visit(cp)
		}
	}
	for i := range p.Spec.InitContainers {
		ic := &p.Spec.InitContainers[i]
		if ic.RestartPolicy == nil || *ic.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		for _, cp := range ic.Ports {
			visit(cp)
		}
	}
}

func orTCP(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}

// name makes a unique name of s that is short enough for nftables and still readable.
func name(s, salt string) string {
	h := hash(s + salt)
	if len(s) > 100 {
		s = s[:100]
	}
	return h + "-" + s
}
