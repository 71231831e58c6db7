package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// source is a pod and the object it was made of.
type source struct {
	*Pod
	object *corev1.Pod
}

// addPods adds the pods to the model. If several have the same address it decides which of them holds it: an address may be
// assigned to a new pod while the API still shows the old one.
func (c *compiler) addPods(pods []*corev1.Pod) []source {
	sources := make([]source, 0, len(pods))
	owner := make(map[netip.Addr]*corev1.Pod, len(pods))
	for _, o := range pods {
		if o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
			continue
		}
		addrs := podAddrs(o)
		if len(addrs) == 0 {
			continue
		}
		p := &Pod{Namespace: o.Namespace, Name: o.Name, Node: o.Spec.NodeName, Addrs: addrs, HostNetwork: o.Spec.HostNetwork}
		sources = append(sources, source{p, o})
		if p.HostNetwork {
			continue
		}
		for _, a := range addrs {
			if other := owner[a]; other == nil || supersedes(o, other) {
				owner[a] = o
			}
		}
	}
	slices.SortFunc(sources, func(a, b source) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	kept := sources[:0]
	for _, s := range sources {
		if !s.HostNetwork {
			s.Addrs = slices.DeleteFunc(s.Addrs, func(a netip.Addr) bool { return owner[a] != s.object })
			if len(s.Addrs) == 0 {
				continue
			}
		}
		c.m.Pods = append(c.m.Pods, s.Pod)
		c.m.byName[s.Key()] = s.Pod
		if s.HostNetwork {
			continue
		}
		for _, a := range s.Addrs {
			c.m.byAddr[a] = s.Pod
		}
		kept = append(kept, s)
	}
	return kept
}

// podAddrs returns the addresses in a pod's status, ordered.
func podAddrs(p *corev1.Pod) []netip.Addr {
	var addrs []netip.Addr
	add := func(s string) {
		if a, err := netip.ParseAddr(s); err == nil && !slices.Contains(addrs, a.Unmap()) {
			addrs = append(addrs, a.Unmap())
		}
	}
	add(p.Status.PodIP)
	for _, ip := range p.Status.PodIPs {
		add(ip.IP)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}

// supersedes reports whether a is more likely than b to hold an address that both have in their status.
func supersedes(a, b *corev1.Pod) bool {
	if (a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil) {
		return a.DeletionTimestamp == nil
	}
	if at, bt := a.CreationTimestamp.Time, b.CreationTimestamp.Time; !at.Equal(bt) {
		return at.After(bt)
	}
	return a.Namespace+"/"+a.Name > b.Namespace+"/"+b.Name
}
