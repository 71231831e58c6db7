package policytest

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/klkube/kl/cluster/policy"
)

// Large returns pods and policies in ten namespaces, the pods on nodes n0, n1, … with 110 pods each. Half of the pods have the
// labels of Deployments, the other half those of StatefulSets, where each pod has a label of its own.
func Large(pods, policies int) policy.Objects {
	var o policy.Objects
	for i := range 10 {
		name := fmt.Sprintf("team-%d", i)
		o.Namespaces = append(o.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name,
			Labels: map[string]string{"kubernetes.io/metadata.name": name, "tier": fmt.Sprint(i % 3)}}})
	}
	for i := range pods {
		labels := map[string]string{"app": fmt.Sprintf("app-%d", i/10%20), "pod-template-hash": fmt.Sprintf("%08x", i/10)}
		if i%2 == 1 {
			labels["statefulset.kubernetes.io/pod-name"] = fmt.Sprintf("p-%d", i)
		}
		o.Pods = append(o.Pods, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p-%d", i), Namespace: fmt.Sprintf("team-%d", i%10), Labels: labels},
			Spec: corev1.PodSpec{NodeName: fmt.Sprintf("n%d", i/110), Containers: []corev1.Container{
				{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}}}},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.244.%d.%d", i/250, i%250+2)},
		})
	}
	http := intstr.FromString("http")
	dns := intstr.FromInt32(53)
	udp := corev1.ProtocolUDP
	for i := range policies {
		o.Policies = append(o.Policies, &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("np-%d", i), Namespace: fmt.Sprintf("team-%d", i%10)},
			Spec: networkingv1.NetworkPolicySpec{
				PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprintf("app-%d", i/10%20)}},
				Ingress: []networkingv1.NetworkPolicyIngressRule{{
					From: []networkingv1.NetworkPolicyPeer{
						{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprintf("app-%d", (i/10+1)%20)}}},
						{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"tier": fmt.Sprint(i % 3)}}},
						{IPBlock: &networkingv1.IPBlock{CIDR: "192.168.0.0/16", Except: []string{fmt.Sprintf("192.168.%d.0/24", i)}}},
					},
					Ports: []networkingv1.NetworkPolicyPort{{Port: &http}},
				}},
				Egress: []networkingv1.NetworkPolicyEgressRule{
					{To: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}},
					{Ports: []networkingv1.NetworkPolicyPort{{Port: &dns, Protocol: &udp}}},
				},
			},
		})
	}
	return o
}
