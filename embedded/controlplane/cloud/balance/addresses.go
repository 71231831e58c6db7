package balance

import (
	"errors"
	"maps"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"

	"github.com/klkube/kl/cluster"
)

// errNoNetwork is why a cluster without nodes has no addresses.
var errNoNetwork = errors.New("the cluster has no nodes, and addresses are of the nodes' network")

// Addresses records which Service has which address. It is safe for concurrent use.
type Addresses struct {
	nodes    corelisters.NodeLister
	services corelisters.ServiceLister
	changed  func() // called when an address was assigned or released

	mu   sync.Mutex
	held map[netip.Addr]types.NamespacedName
}

// NewAddresses returns an empty record. changed is called when an address is assigned or released; it must not block.
func NewAddresses(nodes corelisters.NodeLister, services corelisters.ServiceLister, changed func()) *Addresses {
	return &Addresses{nodes: nodes, services: services, changed: changed, held: map[netip.Addr]types.NamespacedName{}}
}

// addressRange returns the range of the network that the nodes are in.
func (a *Addresses) addressRange() (addressRange, error) {
	list, err := a.nodes.List(labels.Everything())
	if err != nil {
		return addressRange{}, err
	}
	for _, n := range list {
		if ip, ok := internalIP(n); ok && !cluster.IsSimulated(n.Labels) {
			var r addressRange
			r.first, r.last = cluster.LoadBalancerRange(cluster.NodeSubnet(ip))
			return r, nil
		}
	}
	return addressRange{}, errNoNetwork
}

// Restore records the addresses in the status of the Services that ours accepts. It is called once, before Assign.
func (a *Addresses) Restore(ours func(*corev1.Service) bool) error {
	list, err := a.services.List(labels.Everything())
	if err != nil {
		return err
	}
	r, err := a.addressRange()
	if errors.Is(err, errNoNetwork) {
		return nil
	}
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, svc := range list {
		if ip, ok := statusAddress(svc); ok && ours(svc) && r.contains(ip) {
			if _, taken := a.held[ip]; !taken {
				a.held[ip] = keyOf(svc)
			}
		}
	}
	return nil
}

// Covers reports whether the address in a Service's status is of kl's range. It is true for a Service without one, and where
// the range is not known.
func (a *Addresses) Covers(svc *corev1.Service) bool {
	ip, ok := statusAddress(svc)
	if !ok {
		return true
	}
	r, err := a.addressRange()
	return err == nil && r.contains(ip)
}

// Of returns the address of a Service.
func (a *Addresses) Of(key types.NamespacedName) (netip.Addr, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.of(key)
}

// of is Of while mu is held.
func (a *Addresses) of(key types.NamespacedName) (netip.Addr, bool) {
	for ip, owner := range a.held {
		if owner == key {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// all returns a copy of the record.
func (a *Addresses) all() map[netip.Addr]types.NamespacedName {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.held)
}

// Assign gives a Service an address: want, or the one it has, or a free one if want is the zero Addr. An error may go away
// when another Service releases its address or a node joins.
func (a *Addresses) Assign(svc *corev1.Service, want netip.Addr) (netip.Addr, error) {
	r, err := a.addressRange()
	if err != nil {
		return netip.Addr{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := keyOf(svc)
	have, had := a.of(key)
	if !had {
		have, _ = statusAddress(svc)
	}
	ip, err := choose(r, want, have, key, a.held)
	if err != nil {
		return netip.Addr{}, err
	}
	if had && have != ip {
		delete(a.held, have)
	}
	a.held[ip] = key
	a.changed()
	return ip, nil
}

// Release frees the address of a Service, if it has one.
func (a *Addresses) Release(key types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ip, ok := a.of(key); ok {
		delete(a.held, ip)
		a.changed()
	}
}

func keyOf(svc *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
}

// statusAddress returns the address in a Service's status.
func statusAddress(svc *corev1.Service) (netip.Addr, bool) {
	for _, i := range svc.Status.LoadBalancer.Ingress {
		if ip, err := netip.ParseAddr(i.IP); err == nil && ip.Is4() {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// internalIP returns the IPv4 address at which nodes reach each other.
func internalIP(n *corev1.Node) (netip.Addr, bool) {
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && ip.Is4() && a.Type == corev1.NodeInternalIP {
			return ip, true
		}
	}
	return netip.Addr{}, false
}
