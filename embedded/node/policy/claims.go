package policy

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// Claim is what the CNI plugin says about a pod: it got this address just now.
type Claim struct {
	Namespace string       `json:"namespace"`
	Name      string       `json:"name"`
	UID       string       `json:"uid,omitempty"` // empty: any pod of that name
	Addrs     []netip.Addr `json:"addrs"`
}

func (c Claim) key() string { return c.Namespace + "/" + c.Name }

// of tells whether the claim is this pod's. The runtime knows a static pod by the UID that its mirror in the API only notes.
func (c Claim) of(p *corev1.Pod) bool {
	return c.UID == "" || c.UID == string(p.UID) || c.UID == p.Annotations[corev1.MirrorPodAnnotationKey]
}

// claims are the addresses that pods of this node have, as known before the API server knows. A claim beats what the
// API says, until it is released or its pod is gone.
type claims struct {
	mu       *sync.Mutex
	held     map[string]Claim // pod → its claim
	released map[string]Claim // pod → addresses it lost though the API still shows them
	seen     map[string]bool  // claims whose pod the API showed
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
		return // an older pod of that name is going
	} else if ok && len(claim.Addrs) == 0 {
		claim.Addrs = held.Addrs
	}
	delete(c.held, claim.key())
	c.released[claim.key()] = claim
}

// overlay returns the pods with claimed addresses instead of those the API shows, and forgets claims of pods that the
// API has shown and shows no more. The given objects are not changed.
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

// withAddrs copies as much of a pod as is needed to give it other addresses.
func withAddrs(p *corev1.Pod, addrs []netip.Addr) *corev1.Pod {
	c := *p
	c.Status.PodIP, c.Status.PodIPs = "", nil
	for _, a := range addrs {
		c.Status.PodIPs = append(c.Status.PodIPs, corev1.PodIP{IP: a.String()})
	}
	return &c
}

// Claim says that a pod of this node got its addresses, and returns when the pod's policies are enforced. After ctx the
// claim still holds: the pod's traffic is dropped, if there are policies at all, until it is programmed.
func (a *Agent) Claim(ctx context.Context, c Claim) error {
	a.claims.hold(c)
	a.touch()
	for {
		m, changed := a.enforced()
		if m != nil {
			programmed := true
			for _, addr := range c.Addrs {
				p := m.PodAt(addr)
				programmed = programmed && (!addr.Is4() || p != nil && p.Key() == c.key())
			}
			if programmed {
				return nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("program pod %s: %w", c.key(), ctx.Err())
		}
	}
}

// Release says that a pod of this node lost its addresses.
func (a *Agent) Release(c Claim) {
	a.claims.release(c)
	a.touch()
}
