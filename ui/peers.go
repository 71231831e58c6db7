package ui

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/policy"
)

// peer is a line of the matrix: pods that behave alike stand for each other.
type peer struct {
	name string
	pods []*policy.Pod // empty: outside the cluster
}

// outside is an address that belongs to nobody (TEST-NET-1).
func outside() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }

// peerOf finds the line of the matrix that a pod belongs to; what is no pod is outside.
func (p *policies) peerOf(end string) int {
	if owner := p.owners[end]; owner != "" {
		name := p.line(end, owner)
		if i := slices.IndexFunc(p.peers, func(x peer) bool { return x.name == name }); i >= 0 {
			return i
		}
	}
	return max(0, len(p.peers)-1)
}

// members tells whether an end, as verdicts name it, belongs to a line of the matrix.
func (p *policies) members(x peer) func(end string) bool {
	if len(x.pods) == 0 {
		return func(end string) bool { return p.owners[end] == "" }
	}
	return func(end string) bool {
		owner := p.owners[end]
		return owner != "" && p.line(end, owner) == x.name
	}
}

// line is the name of the line that a pod (namespace/name) of an owner is on.
func (p *policies) line(pod, owner string) string {
	namespace, _, _ := strings.Cut(pod, "/")
	switch {
	case p.part == partNamespaces:
		return namespace
	case p.w.namespace == "":
		return namespace + "/" + owner
	}
	return owner
}

// collect groups pods that behave alike: replicas of one workload, or all of a namespace.
func (p *policies) collect() []peer {
	var out []peer
	at := map[string]int{}
	p.owners = map[string]string{}
	for _, pod := range p.w.snap.Pods {
		p.owners[pod.Namespace+"/"+pod.Name] = workloadOf(pod)
	}
	for _, pod := range p.model.Pods {
		if !p.w.in(pod.Namespace) || pod.HostNetwork || len(pod.Addrs) == 0 {
			continue
		}
		name := p.line(pod.Key(), p.owners[pod.Key()])
		if !p.w.matches(name) {
			continue
		}
		i, ok := at[name]
		if !ok {
			i = len(out)
			at[name] = i
			out = append(out, peer{name: name})
		}
		few := 2 // replicas behave alike; two, so that one can talk to another
		if p.part == partNamespaces {
			few = 6
		}
		if sample := &out[i]; len(sample.pods) < few || !slices.ContainsFunc(sample.pods, func(x *policy.Pod) bool { return x.Ingress == pod.Ingress && x.Egress == pod.Egress }) {
			sample.pods = append(sample.pods, pod)
		}
	}
	slices.SortFunc(out, func(a, b peer) int { return strings.Compare(a.name, b.name) })
	if len(out) > 0 && p.w.matches("outside") {
		out = append(out, peer{name: "(outside)"})
	}
	return out
}

// workloadOf names what made a pod, without the hashes that tell replicas apart.
func workloadOf(p *corev1.Pod) string {
	for _, o := range p.OwnerReferences {
		if o.Controller == nil || !*o.Controller {
			continue
		}
		if hash := p.Labels["pod-template-hash"]; o.Kind == "ReplicaSet" && hash != "" {
			return strings.TrimSuffix(o.Name, "-"+hash)
		}
		return o.Name
	}
	return p.Name
}

// judged is the answer about a pair of peers.
type judged struct {
	allowed, all int
	verdict      policy.Verdict
}

// perFrame is how many verdicts one frame may cost: about 10 ms of work. A larger matrix fills in over several frames.
const perFrame = 1000

// pair judges two peers by their indices, once, as long as the frame's budget lasts.
func (p *policies) pair(i, j int) (judged, bool) {
	c, ok := p.cells[[2]int{i, j}]
	if !ok {
		if p.budget <= 0 {
			return c, false
		}
		c.allowed, c.all, c.verdict = p.reach(p.peers[i], p.peers[j])
		p.cells[[2]int{i, j}] = c
		p.budget -= max(1, c.all)
	}
	return c, true
}

// pending reports whether a part of the matrix that is seen has not been judged.
func (p *policies) pending() bool {
	if p.part >= partPolicies {
		return false
	}
	for i := p.top; i < min(len(p.peers), p.top+max(1, p.rows)); i++ {
		for j := p.left; j < min(len(p.peers), p.left+max(1, p.cols)); j++ {
			if _, ok := p.cells[[2]int{i, j}]; !ok {
				return true
			}
		}
	}
	return false
}

// reach judges a pair of peers: how many of the sampled connections are allowed, and one verdict that decides: a denial if
// there is one.
func (p *policies) reach(from, to peer) (allowed, all int, v policy.Verdict) {
	addrs := func(x peer) []netip.Addr {
		if len(x.pods) == 0 {
			return []netip.Addr{outside()}
		}
		var out []netip.Addr
		for _, pod := range x.pods {
			out = append(out, pod.Addrs[0])
		}
		return out
	}
	denied := false
	sources := addrs(from)
	for _, a := range sources {
		for _, b := range addrs(to) {
			if a == b && len(sources) > 1 {
				continue // a pod and itself says nothing
			}
			w := p.model.Verdict(a, b, p.ports.proto, p.ports.port)
			all++
			if w.Allowed {
				allowed++
			}
			if all == 1 || !w.Allowed && !denied {
				v = w
			}
			denied = denied || !w.Allowed
		}
	}
	return allowed, all, v
}
