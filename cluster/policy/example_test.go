package policy_test

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster/policy"
)

func Example() {
	pod := func(name, ip string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"app": name}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip},
		}
	}
	selector := func(app string) metav1.LabelSelector {
		return metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	}
	web := selector("web")
	onlyWeb := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "only-web"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: selector("db"),
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &web}}}},
		},
	}
	m := policy.Compile(policy.Objects{
		Pods:       []*corev1.Pod{pod("web", "10.244.0.2"), pod("db", "10.244.0.3"), pod("batch", "10.244.0.4")},
		Namespaces: []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}},
		Policies:   []*networkingv1.NetworkPolicy{onlyWeb},
	}, policy.Options{})
	for _, from := range []string{"10.244.0.2", "10.244.0.4"} {
		v := m.Verdict(netip.MustParseAddr(from), netip.MustParseAddr("10.244.0.3"), corev1.ProtocolTCP, 5432)
		fmt.Println(v.From, v.Allowed, v.Ingress.Text)
	}
	// Output:
	// shop/web true policy shop/only-web allows it: ingress rule 1 (pods with app=web in namespace shop, any port)
	// shop/batch false shop/db is isolated for ingress by shop/only-web, and no rule allows shop/batch TCP port 5432
}
