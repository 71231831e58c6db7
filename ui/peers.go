package ui

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/policy"
)

// peer is a row and a column of the matrix: the pods of a workload or of a namespace.
type peer struct {
	name string
	pods []*policy.Pod // one for each set of policies, and a few more; empty means outside the cluster
}

// outside is an address outside of every cluster (TEST-NET-1).
func outside() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }

// peerOf returns the index of the peer that an end of a connection belongs to; an end that is no pod is outside.
func (p *policies) peerOf(end string) int {
	if owner := p.owners[end]; owner != "" {
		name := p.peerName(end, owner)
		if i := slices.IndexFunc(p.peers, func(x peer) bool { return x.name == name }); i >= 0 {
			return i
		}
	}
	return max(0, len(p.peers)-1)
}

// members returns a function that reports whether an end of a connection, as verdicts name it, belongs to a peer.
func (p *policies) members(x peer) func(end string) bool {
	if len(x.pods) == 0 {
		return func(end string) bool { return p.owners[end] == "" }
	}
	return func(end string) bool {
		owner := p.owners[end]
		return owner != "" && p.peerName(end, owner) == x.name
	}
}

// peerName is the name of the peer that a pod (namespace/name) of an owner belongs to.
func (p *policies) peerName(pod, owner string) string {
	namespace, _, _ := strings.Cut(pod, "/")
	switch {
	case p.part == partNamespaces:
		return namespace
	case p.state.namespace == "":
		return namespace + "/" + owner
	}
	return owner
}

// collect groups the pods by workload or namespace.
func (p *policies) collect() []peer {
	var out []peer
	at := map[string]int{}
	p.owners = map[string]string{}
	for _, pod := range p.state.snap.Pods {
		p.owners[pod.Namespace+"/"+pod.Name] = workloadOf(pod)
	}
	for _, pod := range p.model.Pods {
		if !p.state.in(pod.Namespace) || pod.HostNetwork || len(pod.Addrs) == 0 {
			continue
		}
		name := p.peerName(pod.Key(), p.owners[pod.Key()])
		if !p.state.matches(name) {
			continue
		}
		i, ok := at[name]
		if !ok {
			i = len(out)
			at[name] = i
			out = append(out, peer{name: name})
		}
		few := 2 // replicas behave alike; with two, connections between them are judged too
		if p.part == partNamespaces {
			few = 6
		}
		if sample := &out[i]; len(sample.pods) < few || !slices.ContainsFunc(sample.pods, func(x *policy.Pod) bool { return x.Ingress == pod.Ingress && x.Egress == pod.Egress }) {
			sample.pods = append(sample.pods, pod)
		}
	}
	slices.SortFunc(out, func(a, b peer) int { return strings.Compare(a.name, b.name) })
	if len(out) > 0 && p.state.matches("outside") {
		out = append(out, peer{name: "(outside)"})
	}
	return out
}

// workloadOf is the name of the workload that a pod belongs to, or of the pod itself if it has no controller.
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

// pairVerdict is the number of sampled connections between two peers, and of those that are allowed.
type pairVerdict struct {
	allowed, all int
	verdict      policy.Verdict // of one connection: a denied one if there is one
}

// perFrame is the number of connections that are judged for one frame, which takes about 10 ms. A large matrix takes
// several frames.
const perFrame = 1000

// judge judges the pairs in the window of the matrix that have no verdict yet, up to perFrame connections, and always the
// pair under the cursor.
func (p *policies) judge() {
	budget := perFrame
	judge := func(i, j int) {
		at := [2]int{i, j}
		if _, ok := p.verdicts[at]; ok || budget <= 0 {
			return
		}
		v := p.reach(p.peers[i], p.peers[j])
		p.verdicts[at] = v
		budget -= max(1, v.all)
	}
	p.grid.each(len(p.peers), judge)
	if len(p.peers) > 0 {
		budget = max(budget, 1) // the pair under the cursor is always judged
		judge(p.row, p.col)
	}
}

// pending reports whether a pair in the window has no verdict yet.
func (p *policies) pending() bool {
	if p.part >= partPolicies {
		return false
	}
	missing := false
	p.grid.each(len(p.peers), func(i, j int) {
		_, ok := p.verdicts[[2]int{i, j}]
		missing = missing || !ok
	})
	return missing
}

// reach judges the connections between the sampled pods of two peers.
func (p *policies) reach(from, to peer) pairVerdict {
	var out pairVerdict
	denied := false
	sources := from.addrs()
	for _, a := range sources {
		for _, b := range to.addrs() {
			if a == b && len(sources) > 1 {
				continue // a pod can always reach itself
			}
			v := p.model.Verdict(a, b, p.ports.proto, p.ports.port)
			out.all++
			if v.Allowed {
				out.allowed++
			}
			if out.all == 1 || !v.Allowed && !denied {
				out.verdict = v
			}
			denied = denied || !v.Allowed
		}
	}
	return out
}

// addrs are the addresses of the sampled pods.
func (x peer) addrs() []netip.Addr {
	if len(x.pods) == 0 {
		return []netip.Addr{outside()}
	}
	var out []netip.Addr
	for _, pod := range x.pods {
		out = append(out, pod.Addrs[0])
	}
	return out
}
