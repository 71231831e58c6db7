package cloud

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/cloud-provider/service/helpers"
)

// release takes back what Services have when load balancers have been disabled: else their finalizer would keep them from
// ever being deleted. Services that another implementation looks after are left alone, as far as can be told: by their
// class, or by an address that is not of kl's range.
func (c *Controller) release(ctx context.Context, client kubernetes.Interface, factory informers.SharedInformerFactory) {
	list, err := client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		c.Logger.WarnContext(ctx, "list services", "error", err)
		return
	}
	b := &balancers{nodes: factory.Core().V1().Nodes().Lister()}
	r, rangeErr := b.addressRange()
	for i := range list.Items {
		svc := &list.Items[i]
		_, _ = trim(svc)
		if !helpers.HasLBFinalizer(svc) || svc.Spec.LoadBalancerClass != nil {
			continue
		}
		if a, ok := ingress(svc); ok && (rangeErr != nil || !r.contains(a)) {
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
