package cloud

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/cloud-provider/service/helpers"

	"github.com/klkube/kl/embedded/controlplane/cloud/balance"
)

// release removes addresses and finalizers from Services when load balancers have been disabled: the finalizer would prevent
// their deletion. It leaves Services of other implementations alone, which it knows by a class or by an address outside of
// kl's range.
func (c *Controller) release(ctx context.Context, client kubernetes.Interface, nodes corelisters.NodeLister, services corelisters.ServiceLister) {
	list, err := client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		c.Logger.WarnContext(ctx, "list services", "error", err)
		return
	}
	addresses := balance.NewAddresses(nodes, services, func() {})
	for i := range list.Items {
		svc := &list.Items[i]
		dropClass(svc)
		if !helpers.HasLBFinalizer(svc) || svc.Spec.LoadBalancerClass != nil || !addresses.Covers(svc) {
			continue
		}
		after := svc.DeepCopy()
		after.Status.LoadBalancer = corev1.LoadBalancerStatus{}
		after.Finalizers = nil
		for _, f := range svc.Finalizers {
			if f != helpers.LoadBalancerCleanupFinalizer {
				after.Finalizers = append(after.Finalizers, f)
			}
		}
		if _, err := helpers.PatchService(client.CoreV1(), svc, after); err != nil {
			c.Logger.WarnContext(ctx, "release load balancer", "service", keyOf(svc).String(), "error", err)
		}
	}
}
