package ui

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// policyWords describes in words what a policy allows.
func policyWords(np *networkingv1.NetworkPolicy) string {
	who := "every pod"
	if s := metav1.FormatLabelSelector(&np.Spec.PodSelector); s != "" && s != "<none>" {
		who = "pods " + s
	}
	ingress := len(np.Spec.PolicyTypes) == 0 || slices.Contains(np.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
	egress := slices.Contains(np.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) || len(np.Spec.PolicyTypes) == 0 && len(np.Spec.Egress) > 0
	var parts []string
	if ingress {
		var rules []string
		for _, r := range np.Spec.Ingress {
			rules = append(rules, ruleWords(r.From, r.Ports, "anywhere"))
		}
		parts = append(parts, words("may be reached from", "may not be reached", rules))
	}
	if egress {
		var rules []string
		for _, r := range np.Spec.Egress {
			rules = append(rules, ruleWords(r.To, r.Ports, "anywhere"))
		}
		parts = append(parts, words("may reach", "may reach nothing", rules))
	}
	return who + " " + strings.Join(parts, "; ")
}

func words(some, none string, rules []string) string {
	if len(rules) == 0 {
		return none
	}
	return some + " " + strings.Join(rules, " or ")
}

func ruleWords(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, any string) string {
	var who []string
	for _, x := range peers {
		who = append(who, peerWords(x))
	}
	if len(who) == 0 {
		who = []string{any}
	}
	s := strings.Join(who, ", ")
	var on []string
	for _, x := range ports {
		on = append(on, portWords(x))
	}
	if len(on) > 0 {
		s += " on " + strings.Join(on, ", ")
	}
	return s
}

func portWords(x networkingv1.NetworkPolicyPort) string {
	proto := "tcp"
	if x.Protocol != nil {
		proto = strings.ToLower(string(*x.Protocol))
	}
	switch {
	case x.Port == nil:
		return "any " + proto + " port"
	case x.EndPort != nil:
		return fmt.Sprintf("%s %s–%d", proto, x.Port, *x.EndPort)
	}
	return proto + " " + x.Port.String()
}

func peerWords(x networkingv1.NetworkPolicyPeer) string {
	if x.IPBlock != nil {
		s := x.IPBlock.CIDR
		if len(x.IPBlock.Except) > 0 {
			s += " without " + strings.Join(x.IPBlock.Except, ", ")
		}
		return s
	}
	pods := "every pod"
	if x.PodSelector != nil {
		if s := metav1.FormatLabelSelector(x.PodSelector); s != "" && s != "<none>" {
			pods = "pods " + s
		}
	}
	if x.NamespaceSelector == nil {
		return pods + " here"
	}
	if s := metav1.FormatLabelSelector(x.NamespaceSelector); s != "" && s != "<none>" {
		return pods + " of namespaces " + strings.ReplaceAll(s, "kubernetes.io/metadata.name=", "")
	}
	return pods + " of any namespace"
}
