package cloud

import (
	"context"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/api"

	"github.com/klkube/kl/embedded/controlplane/cloud/balance"
	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
)

// Class is the loadBalancerClass of kl's load balancers. Services that name no class are kl's too.
const Class = "kl.dev/load-balancer"

// retryAllocation is when a Service without an address is tried again: another one may have released its own.
const retryAllocation = 5 * time.Second

// balancers gives each Service of type LoadBalancer an address. It is safe for concurrent use.
type balancers struct {
	addresses *balance.Addresses
	requests  *cloudmetrics.Requests
}

var _ cloudprovider.LoadBalancer = (*balancers)(nil)

// GetLoadBalancer implements cloudprovider.LoadBalancer.
func (b *balancers) GetLoadBalancer(_ context.Context, _ string, svc *corev1.Service) (status *corev1.LoadBalancerStatus, exists bool, err error) {
	defer b.requests.Time("get_load_balancer")(&err)
	a, ok := b.addresses.Of(keyOf(svc))
	if !ok {
		return nil, false, nil
	}
	return statusOf(a), true, nil
}

// GetLoadBalancerName implements cloudprovider.LoadBalancer.
func (b *balancers) GetLoadBalancerName(_ context.Context, _ string, svc *corev1.Service) string {
	return keyOf(svc).String()
}

// EnsureLoadBalancer implements cloudprovider.LoadBalancer.
func (b *balancers) EnsureLoadBalancer(_ context.Context, _ string, svc *corev1.Service, _ []*corev1.Node) (status *corev1.LoadBalancerStatus, err error) {
	defer b.requests.Time("ensure_load_balancer")(&err)
	want, err := balance.Requested(svc)
	if err != nil {
		return nil, err
	}
	a, err := b.addresses.Assign(svc, want)
	if err != nil {
		return nil, api.NewRetryError(err.Error(), retryAllocation)
	}
	return statusOf(a), nil
}

// UpdateLoadBalancer implements cloudprovider.LoadBalancer. The balancer watches nodes itself, so there is nothing to do.
func (b *balancers) UpdateLoadBalancer(context.Context, string, *corev1.Service, []*corev1.Node) (err error) {
	defer b.requests.Time("update_load_balancer")(&err)
	return nil
}

// EnsureLoadBalancerDeleted implements cloudprovider.LoadBalancer.
func (b *balancers) EnsureLoadBalancerDeleted(_ context.Context, _ string, svc *corev1.Service) (err error) {
	defer b.requests.Time("delete_load_balancer")(&err)
	b.addresses.Release(keyOf(svc))
	return nil
}

func keyOf(svc *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
}

// isOurs reports whether kl balances a Service. trim has removed kl's own class.
func isOurs(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.LoadBalancerClass == nil
}

func statusOf(a netip.Addr) *corev1.LoadBalancerStatus {
	vip := corev1.LoadBalancerIPModeVIP
	return &corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: a.String(), IPMode: &vip}}}
}
