package cloud

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/api"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
)

// Class is the loadBalancerClass of kl's load balancers. A Service that names no class gets one of them too.
const Class = "kl.dev/load-balancer"

// retryAllocation is when a Service that got no address is tried again: another may have given its own back.
const retryAllocation = 5 * time.Second

// errNoNetwork is why a cluster without nodes has no addresses.
var errNoNetwork = errors.New("the cluster has no node whose network an address could be of")

// balancers gives each Service of type LoadBalancer an address. It is safe for concurrent use.
type balancers struct {
	nodes    corelisters.NodeLister
	services corelisters.ServiceLister
	requests *cloudmetrics.Requests
	changed  func() // an address was given or taken back

	mu   sync.Mutex
	held map[netip.Addr]types.NamespacedName
}

var _ cloudprovider.LoadBalancer = (*balancers)(nil)

func newBalancers(nodes corelisters.NodeLister, services corelisters.ServiceLister, requests *cloudmetrics.Requests, changed func()) *balancers {
	return &balancers{nodes: nodes, services: services, requests: requests, changed: changed, held: map[netip.Addr]types.NamespacedName{}}
}

// addressRange is that of the network in which the nodes are.
func (b *balancers) addressRange() (addressRange, error) {
	list, err := b.nodes.List(labels.Everything())
	if err != nil {
		return addressRange{}, err
	}
	for _, n := range list {
		if a, ok := internalIP(n); ok && !cluster.IsSimulated(n.Labels) {
			var r addressRange
			r.first, r.last = cluster.LoadBalancerRange(cluster.NodeSubnet(a))
			return r, nil
		}
	}
	return addressRange{}, errNoNetwork
}

// restore takes over what the Services say they have. It is called before anything else.
func (b *balancers) restore() error {
	list, err := b.services.List(labels.Everything())
	if err != nil {
		return err
	}
	r, err := b.addressRange()
	if err != nil {
		return nil //nolint:nilerr // without nodes nobody has an address
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, svc := range list {
		if a, ok := ingress(svc); ok && isOurs(svc) && r.contains(a) {
			if _, taken := b.held[a]; !taken {
				b.held[a] = keyOf(svc)
			}
		}
	}
	return nil
}

// addresses are those that Services have.
func (b *balancers) addresses() map[netip.Addr]types.NamespacedName {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[netip.Addr]types.NamespacedName, len(b.held))
	for a, key := range b.held {
		all[a] = key
	}
	return all
}

// address is that of a Service.
func (b *balancers) address(key types.NamespacedName) (netip.Addr, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of(key)
}

// of is the address of a Service; mu is held.
func (b *balancers) of(key types.NamespacedName) (netip.Addr, bool) {
	for a, owner := range b.held {
		if owner == key {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// GetLoadBalancer implements cloudprovider.LoadBalancer.
func (b *balancers) GetLoadBalancer(_ context.Context, _ string, svc *corev1.Service) (status *corev1.LoadBalancerStatus, exists bool, err error) {
	defer b.requests.Time("get_load_balancer")(&err)
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := b.of(keyOf(svc))
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
	want, err := requested(svc)
	if err != nil {
		return nil, err // until the Service is changed
	}
	r, err := b.addressRange()
	if err != nil {
		return nil, api.NewRetryError(err.Error(), retryAllocation)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := keyOf(svc)
	have, had := b.of(key)
	if !had {
		have, _ = ingress(svc)
	}
	a, err := choose(r, want, have, key, b.held)
	if err != nil {
		return nil, api.NewRetryError(err.Error(), retryAllocation)
	}
	if had && have != a {
		delete(b.held, have)
	}
	b.held[a] = key
	b.changed()
	return statusOf(a), nil
}

// UpdateLoadBalancer implements cloudprovider.LoadBalancer. Which node holds an address is decided from what the nodes do,
// so there is nothing to write down.
func (b *balancers) UpdateLoadBalancer(context.Context, string, *corev1.Service, []*corev1.Node) (err error) {
	defer b.requests.Time("update_load_balancer")(&err)
	b.changed()
	return nil
}

// EnsureLoadBalancerDeleted implements cloudprovider.LoadBalancer.
func (b *balancers) EnsureLoadBalancerDeleted(_ context.Context, _ string, svc *corev1.Service) (err error) {
	defer b.requests.Time("delete_load_balancer")(&err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if a, ok := b.of(keyOf(svc)); ok {
		delete(b.held, a)
		b.changed()
	}
	return nil
}

func keyOf(svc *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
}

// isOurs tells Services that kl balances. The class is gone from those that name kl's: see trim.
func isOurs(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.LoadBalancerClass == nil
}

// ingress is the address that a Service's status names.
func ingress(svc *corev1.Service) (netip.Addr, bool) {
	for _, i := range svc.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(i.IP); err == nil && a.Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func statusOf(a netip.Addr) *corev1.LoadBalancerStatus {
	vip := corev1.LoadBalancerIPModeVIP
	return &corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: a.String(), IPMode: &vip}}}
}

// internalIP is the IPv4 address by which nodes reach each other.
func internalIP(n *corev1.Node) (netip.Addr, bool) {
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && ip.Is4() && a.Type == corev1.NodeInternalIP {
			return ip, true
		}
	}
	return netip.Addr{}, false
}
