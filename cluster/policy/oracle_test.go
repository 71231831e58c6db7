package policy_test

import (
	"net"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/klkube/kl/cluster/policy"
)

// oracle judges a connection directly by the objects, as the API documents it. It is slow, and shares no code with the
// compiler, not even label matching.
type oracle struct {
	policy.Objects
	gateway string
}

func (o oracle) allowed(from, to string, proto corev1.Protocol, port int32) bool {
	src, dst := o.podAt(from), o.podAt(to)
	if src != nil && src == dst {
		return true
	}
	if src != nil && !o.isNodeOf(src, to) && !o.sideAllows(src, "Egress", to, dst, proto, port, dst) {
		return false
	}
	if dst != nil && !o.isNodeOf(dst, from) && from != o.gateway && !o.sideAllows(dst, "Ingress", from, src, proto, port, dst) {
		return false
	}
	return true
}

// podAt: completed pods have no address; of several claimants the one not being deleted, then the newest, then by name.
func (o oracle) podAt(addr string) *corev1.Pod {
	var best *corev1.Pod
	for _, p := range o.Pods {
		if p.Status.PodIP != addr || p.Spec.HostNetwork || p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" {
			continue
		}
		if best == nil {
			best = p
			continue
		}
		pd, bd := p.DeletionTimestamp != nil, best.DeletionTimestamp != nil
		switch {
		case pd != bd:
			if bd {
				best = p
			}
		case !p.CreationTimestamp.Time.Equal(best.CreationTimestamp.Time):
			if p.CreationTimestamp.Time.After(best.CreationTimestamp.Time) {
				best = p
			}
		case p.Namespace+"/"+p.Name > best.Namespace+"/"+best.Name:
			best = p
		}
	}
	return best
}

func (o oracle) isNodeOf(p *corev1.Pod, addr string) bool {
	for _, n := range o.Nodes {
		if n.Name != p.Spec.NodeName || addr == o.gateway {
			continue
		}
		for _, a := range n.Status.Addresses {
			if a.Address == addr {
				return true
			}
		}
		if n.Spec.PodCIDR != "" && strings.TrimSuffix(n.Spec.PodCIDR, "0/24")+"1" == addr {
			return true
		}
	}
	return false
}

func (o oracle) sideAllows(pod *corev1.Pod, side, peerAddr string, peer *corev1.Pod, proto corev1.Protocol, port int32, target *corev1.Pod) bool {
	isolated := false
	for _, np := range o.Policies {
		if np.Namespace != pod.Namespace || !matches(np.Spec.PodSelector, pod.Labels) || !applies(np, side) {
			continue
		}
		isolated = true
		if side == "Ingress" {
			for _, r := range np.Spec.Ingress {
				if o.peersAllow(np.Namespace, r.From, peerAddr, peer) && portsAllow(r.Ports, proto, port, target) {
					return true
				}
			}
			continue
		}
		for _, r := range np.Spec.Egress {
			if o.peersAllow(np.Namespace, r.To, peerAddr, peer) && portsAllow(r.Ports, proto, port, target) {
				return true
			}
		}
	}
	return !isolated
}

func applies(np *networkingv1.NetworkPolicy, side string) bool {
	if len(np.Spec.PolicyTypes) == 0 {
		return side == "Ingress" || len(np.Spec.Egress) > 0
	}
	for _, t := range np.Spec.PolicyTypes {
		if string(t) == side {
			return true
		}
	}
	return false
}

func (o oracle) peersAllow(namespace string, peers []networkingv1.NetworkPolicyPeer, addr string, pod *corev1.Pod) bool {
	if len(peers) == 0 {
		return true
	}
	for _, p := range peers {
		if p.IPBlock != nil {
			if blockHas(p.IPBlock, addr) {
				return true
			}
			continue
		}
		if pod == nil || p.PodSelector == nil && p.NamespaceSelector == nil {
			continue
		}
		if p.NamespaceSelector == nil && pod.Namespace != namespace {
			continue
		}
		if p.NamespaceSelector != nil && !matches(*p.NamespaceSelector, o.namespaceLabels(pod.Namespace)) {
			continue
		}
		if p.PodSelector == nil || matches(*p.PodSelector, pod.Labels) {
			return true
		}
	}
	return false
}

func (o oracle) namespaceLabels(name string) map[string]string {
	for _, n := range o.Namespaces {
		if n.Name == name {
			return n.Labels
		}
	}
	return nil
}

func blockHas(b *networkingv1.IPBlock, addr string) bool {
	ip := net.ParseIP(addr)
	_, n, err := net.ParseCIDR(b.CIDR)
	if err != nil || !n.Contains(ip) {
		return false
	}
	for _, e := range b.Except {
		_, n, err := net.ParseCIDR(e)
		if err != nil || n.Contains(ip) {
			return false
		}
	}
	return true
}

func portsAllow(ports []networkingv1.NetworkPolicyPort, proto corev1.Protocol, port int32, target *corev1.Pod) bool {
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		want := corev1.ProtocolTCP
		if p.Protocol != nil {
			want = *p.Protocol
		}
		switch {
		case want != proto:
		case p.Port == nil:
			return true
		case p.Port.Type == intstr.String:
			if target != nil && namedPort(target, p.Port.StrVal, proto) == port {
				return true
			}
		case p.EndPort != nil:
			if p.Port.IntVal <= port && port <= *p.EndPort {
				return true
			}
		case p.Port.IntVal == port:
			return true
		}
	}
	return false
}

func namedPort(p *corev1.Pod, name string, proto corev1.Protocol) int32 {
	for _, c := range p.Spec.Containers {
		for _, cp := range c.Ports {
			if cp.Name == name && (cp.Protocol == proto || cp.Protocol == "" && proto == "TCP") {
				return cp.ContainerPort
			}
		}
	}
	return -1
}

func matches(s metav1.LabelSelector, l map[string]string) bool {
	for k, v := range s.MatchLabels {
		if got, ok := l[k]; !ok || got != v {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		got, ok := l[e.Key]
		in := false
		for _, v := range e.Values {
			in = in || ok && v == got
		}
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			if !in {
				return false
			}
		case metav1.LabelSelectorOpNotIn:
			if in {
				return false
			}
		case metav1.LabelSelectorOpExists:
			if !ok {
				return false
			}
		case metav1.LabelSelectorOpDoesNotExist:
			if ok {
				return false
			}
		}
	}
	return true
}
