package policy

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/policy"
)

// Claim is what the CNI plugin reports about a pod: the addresses that it has just been given.
type Claim struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	UID       string       `json:"uid,omitempty"` // empty: whichever pod has the name
	Addrs     []netip.Addr `json:"addrs"`
}

func (c Claim) key() string { return c.Namespace + "/" + c.Name }

// of reports whether the claim is this pod's. The runtime knows a static pod by a UID that its mirror pod in the API has as an
// annotation.
func (c Claim) of(p *corev1.Pod) bool {
	return c.UID == "" || c.UID == string(p.UID) || c.UID == p.Annotations[corev1.MirrorPodAnnotationKey]
}

// claims are the addresses of this node's pods, known before the API server has them. A claim overrides the pod's status in
// the API until it is released or the pod is gone.
type claims struct {
	mu       *sync.Mutex
	held     map[string]Claim // pod → its claim
	released map[string]Claim // pod → addresses it has lost although the API still shows them
	seen     map[string]bool  // pods with a claim that the API has shown
}

func newClaims() claims {
	return claims{mu: &sync.Mutex{}, held: map[string]Claim{}, released: map[string]Claim{}, seen: map[string]bool{}}
}

func (c *claims) hold(claim Claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[claim.key()] = claim
	delete(c.released, claim.key())
	delete(c.seen, claim.key())
}

func (c *claims) release(claim Claim) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held, ok := c.held[claim.key()]; ok && claim.UID != "" && held.UID != "" && held.UID != claim.UID {
		return // of an older pod with the same name
	} else if ok && len(claim.Addrs) == 0 {
		claim.Addrs = held.Addrs
	}
	delete(c.held, claim.key())
	c.released[claim.key()] = claim
}

// overlay returns the pods with their claimed addresses instead of those in the API, and drops the claims of pods that were in
// the API and no longer are. The given objects are not modified.
func (c *claims) overlay(pods []*corev1.Pod) []*corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.held) == 0 && len(c.released) == 0 {
		return pods
	}
	owner := map[netip.Addr]string{}
	for key, claim := range c.held {
		for _, a := range claim.Addrs {
			owner[a] = key
		}
	}
	out := slices.Clone(pods)
	present := make(map[string]bool, len(pods))
	for i, p := range out {
		key := p.Namespace + "/" + p.Name
		present[key] = true
		if claim, ok := c.held[key]; ok && claim.of(p) {
			c.seen[key] = true
			out[i] = withAddrs(p, claim.Addrs)
			continue
		}
		gone, released := c.released[key]
		kept := slices.DeleteFunc(apiAddrs(p), func(a netip.Addr) bool {
			other, taken := owner[a]
			return taken && other != key || released && gone.of(p) && slices.Contains(gone.Addrs, a)
		})
		if len(kept) != len(apiAddrs(p)) && !p.Spec.HostNetwork {
			out[i] = withAddrs(p, kept)
		}
	}
	maps.DeleteFunc(c.held, func(key string, _ Claim) bool { return c.seen[key] && !present[key] })
	maps.DeleteFunc(c.seen, func(key string, _ bool) bool { return !present[key] })
	maps.DeleteFunc(c.released, func(key string, _ Claim) bool { return !present[key] })
	return out
}

func apiAddrs(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, s := range append([]corev1.PodIP{{IP: p.Status.PodIP}}, p.Status.PodIPs...) {
		if a, err := netip.ParseAddr(s.IP); err == nil && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// withAddrs returns a shallow copy of a pod with other addresses.
func withAddrs(p *corev1.Pod, addrs []netip.Addr) *corev1.Pod {
	c := *p
	c.Status.PodIP, c.Status.PodIPs = "", nil
	for _, a := range addrs {
		c.Status.PodIPs = append(c.Status.PodIPs, corev1.PodIP{IP: a.String()})
	}
	return &c
}

// Claim records the addresses of a pod of this node, and returns when the pod's policies are enforced. If ctx ends earlier, the
// claim stays: if there are policies, the pod's traffic is dropped until the pod is programmed.
func (a *Agent) Claim(ctx context.Context, c Claim) error {
	a.claims.hold(c)
	a.touch()
	_, err := a.enforced.Wait(ctx, func(m *policy.Model) bool {
		return m != nil && !slices.ContainsFunc(c.Addrs, func(addr netip.Addr) bool {
			p := m.PodAt(addr)
			return addr.Is4() && (p == nil || p.Key() != c.key())
		})
	})
	if err != nil {
		return fmt.Errorf("program pod %s: %w", c.key(), err)
	}
	return nil
}

// Release records that a pod of this node has lost its addresses.
func (a *Agent) Release(c Claim) {
	a.claims.release(c)
	a.touch()
}
