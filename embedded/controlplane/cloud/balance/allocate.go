package balance

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// AddressAnnotation requests an address, like the deprecated spec.loadBalancerIP.
const AddressAnnotation = "kl.dev/load-balancer-ip"

// addressRange holds the addresses of load balancers, both ends included.
type addressRange struct{ first, last netip.Addr }

func (r addressRange) contains(a netip.Addr) bool { return !a.Less(r.first) && !r.last.Less(a) }

func (r addressRange) String() string { return r.first.String() + "-" + r.last.String() }

// Requested returns the address that a Service requests; the zero Addr if it requests none. An error lasts until the
// Service is changed.
func Requested(svc *corev1.Service) (netip.Addr, error) {
	field, note := svc.Spec.LoadBalancerIP, svc.Annotations[AddressAnnotation]
	text, where := note, "annotation "+AddressAnnotation
	switch {
	case field != "" && note != "" && field != note:
		return netip.Addr{}, fmt.Errorf("spec.loadBalancerIP %s and annotation %s %s contradict each other", field, AddressAnnotation, note)
	case note == "":
		text, where = field, "spec.loadBalancerIP"
	}
	if text == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !a.Is4() {
		return netip.Addr{}, fmt.Errorf("%s: %q is not an IPv4 address", where, text)
	}
	return a, nil
}

// choose returns the address for a Service: the requested one, else the one it has, else the first free one. held maps
// addresses to their Services.
func choose(r addressRange, want, have netip.Addr, self types.NamespacedName, held map[netip.Addr]types.NamespacedName) (netip.Addr, error) {
	free := func(a netip.Addr) bool {
		owner, taken := held[a]
		return r.contains(a) && (!taken || owner == self)
	}
	switch {
	case !want.IsValid():
	case !r.contains(want):
		return netip.Addr{}, fmt.Errorf("address %s is outside of the load balancers' range %s", want, r)
	case !free(want):
		return netip.Addr{}, fmt.Errorf("address %s is taken by Service %s", want, held[want])
	default:
		return want, nil
	}
	if have.IsValid() && free(have) {
		return have, nil
	}
	for a := r.first; r.contains(a); a = a.Next() {
		if free(a) {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("every address of the load balancers' range %s is taken", r)
}
