package cloud

import (
	"cmp"
	"net/netip"
	"slices"
)

// verdict is what is known of a Service's health on a node.
type verdict int

// The verdicts.
const (
	unknown verdict = iota // the node did not answer the question, lately
	failing
	passing
)

// balancer is one load-balanced address.
type balancer struct {
	addr netip.Addr
	// local is externalTrafficPolicy: only nodes in health may hold the address.
	local bool
	// health is of the nodes with ready endpoints of the Service, if local.
	health map[string]verdict
}

// machine is a node that is connected.
type machine struct {
	name  string
	ready bool // it is fit to hold addresses
}

// assign decides which node holds each address. An address stays where it is if it may; else the node with the fewest
// gets it. One that nobody may hold is missing from the result, but for two that have no better place: a Cluster
// address on a node that is connected and not ready, and a Local one on a node whose health is not known.
func assign(current map[netip.Addr]string, balancers []balancer, machines []machine) map[netip.Addr]string {
	next, load := map[netip.Addr]string{}, map[string]int{}
	give := func(b balancer, node string) {
		next[b.addr] = node
		load[node]++
	}
	balancers = slices.SortedFunc(slices.Values(balancers), func(a, b balancer) int { return a.addr.Compare(b.addr) })
	var homeless []balancer
	for _, b := range balancers {
		if holder := current[b.addr]; slices.Contains(fit(b, machines), holder) {
			give(b, holder)
		} else {
			homeless = append(homeless, b)
		}
	}
	for _, b := range homeless {
		candidates := fit(b, machines)
		if len(candidates) == 0 {
			if holder := current[b.addr]; tolerable(b, holder, machines) {
				give(b, holder)
			}
			continue
		}
		give(b, slices.MinFunc(candidates, func(x, y string) int {
			return cmp.Or(cmp.Compare(load[x], load[y]), cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
		}))
	}
	return next
}

// fit are the nodes that may hold an address.
func fit(b balancer, machines []machine) []string {
	var names []string
	for _, m := range machines {
		if m.ready && (!b.local || b.health[m.name] == passing) {
			names = append(names, m.name)
		}
	}
	return names
}

// tolerable tells whether an address may stay with its holder for want of a better one.
func tolerable(b balancer, holder string, machines []machine) bool {
	if !slices.ContainsFunc(machines, func(m machine) bool { return m.name == holder }) {
		return false
	}
	if !b.local {
		return true
	}
	v, has := b.health[holder]
	return has && v != failing
}
