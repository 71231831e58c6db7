// Package policytest makes clusters for tests of code that uses package policy: small ones, full of edge cases, that are a
// function of some bytes, so that a fuzzer can change them bit by bit.
//
//	f.Fuzz(func(t *testing.T, data []byte) {
//		m := policy.Compile(policytest.Objects(data), policy.Options{Gateway: netip.MustParseAddr(policytest.Gateway)})
//	})
package policytest

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/klkube/kl/cluster/policy"
)

// choices turns fuzz input into decisions, so that a small change of the input is a small change of the cluster. After the end
// of the input it continues with a pseudo-random sequence that the input has seeded.
type choices struct {
	data []byte
	pos  int
	rnd  uint64
}

func (c *choices) n(n int) int {
	if c.pos < len(c.data) {
		b := c.data[c.pos]
		c.pos++
		c.rnd = c.rnd*1099511628211 + uint64(b) + 1
		return int(b) % n
	}
	c.rnd = c.rnd*6364136223846793005 + 1442695040888963407
	return int((c.rnd >> 33) % uint64(n))
}

func (c *choices) flip() bool { return c.n(2) == 1 }

// oneIn is true once in n times, and never on a zero byte.
func (c *choices) oneIn(n int) bool { return c.n(n) == n-1 }

func pick[T any](c *choices, from ...T) T { return from[c.n(len(from))] }

// Gateway is the address of the API in the clusters of Objects.
const Gateway = "10.245.0.1"

// Protocols returns the protocols that a policy may name.
func Protocols() []corev1.Protocol {
	return []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
}

// Objects makes a cluster of two nodes, three namespaces, up to ten pods and five policies. Pods of node n0 have addresses
// in 10.244.0.0/24, those of n1 in 10.244.1.0/24.
func Objects(data []byte) policy.Objects {
	c := &choices{data: data}
	return c.objects()
}

func (c *choices) objects() policy.Objects {
	var o policy.Objects
	for i := range 2 {
		o.Nodes = append(o.Nodes, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i)},
			Spec:       corev1.NodeSpec{PodCIDR: fmt.Sprintf("10.244.%d.0/24", i)},
			Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("172.18.0.%d", i+2)}}},
		})
	}
	for _, ns := range []string{"a", "b", "c"} {
		if c.oneIn(16) {
			continue // a namespace that is unknown
		}
		o.Namespaces = append(o.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: c.labels()}})
	}
	for i := range 3 + c.n(8) {
		o.Pods = append(o.Pods, c.pod(i))
	}
	for i := range c.n(6) {
		o.Policies = append(o.Policies, c.policy(i))
	}
	return o
}

func (c *choices) labels() map[string]string {
	l := map[string]string{}
	for range c.n(3) {
		l[pick(c, "x", "y")] = pick(c, "1", "2", "")
	}
	return l
}

func (c *choices) pod(i int) *corev1.Pod {
	node := c.n(2)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("p%d", i), Namespace: pick(c, "a", "b", "c"), Labels: c.labels(),
			CreationTimestamp: metav1.Unix(int64(c.n(3)), 0),
		},
		Spec: corev1.PodSpec{NodeName: fmt.Sprintf("n%d", node)},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning,
			PodIP: fmt.Sprintf("10.244.%d.%d", node, i+2),
		},
	}
	switch c.n(16) {
	case 13:
		p.Spec.HostNetwork, p.Status.PodIP = true, fmt.Sprintf("172.18.0.%d", node+2)
	case 14:
		p.Status.Phase = pick(c, corev1.PodSucceeded, corev1.PodFailed)
	case 15:
		p.Status.PodIP = fmt.Sprintf("10.244.%d.%d", node, c.n(i+1)+2) // an address used before
	case 12:
		p.DeletionTimestamp = &metav1.Time{Time: time.Unix(9, 0)}
	case 11:
		p.Status.PodIP = ""
	}
	for range c.n(3) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Ports: []corev1.ContainerPort{{
			Name: pick(c, "web", "dns", ""), ContainerPort: pick(c, int32(80), 81, 8080),
			Protocol: pick(c, "", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP),
		}}})
	}
	return p
}

func (c *choices) selector() *metav1.LabelSelector {
	s := &metav1.LabelSelector{}
	switch c.n(4) {
	case 1:
		s.MatchLabels = map[string]string{pick(c, "x", "y"): pick(c, "1", "2", "")}
	case 2:
		e := metav1.LabelSelectorRequirement{Key: pick(c, "x", "y"), Operator: pick(c,
			metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)}
		if e.Operator == metav1.LabelSelectorOpIn || e.Operator == metav1.LabelSelectorOpNotIn {
			e.Values = pick(c, []string{"1"}, []string{"2", "1"}, []string{""})
		}
		s.MatchExpressions = append(s.MatchExpressions, e)
		if c.flip() {
			s.MatchLabels = map[string]string{"x": pick(c, "1", "2")}
		}
	}
	return s
}

func (c *choices) policy(i int) *networkingv1.NetworkPolicy {
	np := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("np%d", i), Namespace: pick(c, "a", "b", "c")},
		Spec:       networkingv1.NetworkPolicySpec{PodSelector: *c.selector()},
	}
	np.Spec.PolicyTypes = pick(c, nil, []networkingv1.PolicyType{"Ingress"}, []networkingv1.PolicyType{"Egress"},
		[]networkingv1.PolicyType{"Egress", "Ingress"})
	for range c.n(3) {
		np.Spec.Ingress = append(np.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: c.peers(), Ports: c.ports()})
	}
	for range c.n(3) {
		np.Spec.Egress = append(np.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: c.peers(), Ports: c.ports()})
	}
	return np
}

func (c *choices) peers() []networkingv1.NetworkPolicyPeer {
	var peers []networkingv1.NetworkPolicyPeer
	for range c.n(3) {
		var p networkingv1.NetworkPolicyPeer
		switch c.n(5) {
		case 0:
			p.PodSelector = c.selector()
		case 1:
			p.NamespaceSelector = c.selector()
		case 2:
			p.PodSelector, p.NamespaceSelector = c.selector(), c.selector()
		case 3:
			p.IPBlock = &networkingv1.IPBlock{CIDR: c.cidr()}
			for range c.n(4) {
				p.IPBlock.Except = append(p.IPBlock.Except, c.cidr())
			}
		}
		peers = append(peers, p)
	}
	return peers
}

func (c *choices) cidr() string {
	return pick(c, "0.0.0.0/0", "10.244.0.0/16", "10.244.0.0/30", "10.244.0.4/31", "10.244.1.0/24", "10.244.1.3/32",
		"172.18.0.0/16", "172.18.0.2/32", "10.245.0.1/32", "203.0.113.0/24", "255.255.255.255/32", "0.0.0.0/32", "::/0",
		"fd00::/8", "10.244.0.9/24", "bogus")
}

func (c *choices) ports() []networkingv1.NetworkPolicyPort {
	var ports []networkingv1.NetworkPolicyPort
	for range c.n(3) {
		var p networkingv1.NetworkPolicyPort
		if i := c.n(4); i > 0 {
			p.Protocol = &Protocols()[i-1]
		}
		switch c.n(5) {
		case 1:
			v := intstr.FromInt32(pick(c, int32(80), 81, 1, 65535))
			p.Port = &v
		case 2:
			v, end := intstr.FromInt32(pick(c, int32(79), 80, 1)), pick(c, int32(80), 90, 65535, 79)
			p.Port, p.EndPort = &v, &end
		case 3, 4:
			v := intstr.FromString(pick(c, "web", "dns"))
			p.Port = &v
		}
		ports = append(ports, p)
	}
	return ports
}

// Addrs returns all addresses that make a difference: of pods, ended ones too, of nodes, and outside the cluster.
func Addrs(o policy.Objects) []string {
	seen := map[string]bool{}
	out := []string{Gateway, "203.0.113.7", "255.255.255.255", "0.0.0.0", "10.244.0.1", "10.244.1.1", "172.18.0.2", "172.18.0.3"}
	for _, p := range o.Pods {
		if ip := p.Status.PodIP; ip != "" && !seen[ip] && !p.Spec.HostNetwork {
			seen[ip] = true
			out = append(out, ip)
		}
	}
	return out
}
