package balance

import (
	"cmp"
	"net/netip"
	"slices"
)

// verdict is the health of a Service on a node.
type verdict int

// The verdicts.
const (
	unknown verdict = iota // the node has not answered health checks lately
	failing
	passing
)

// service is a Service with an address.
type service struct {
	addr netip.Addr
	// local is externalTrafficPolicy Local: only nodes on which the health check passes may hold the address.
	local bool
	// health is, if local, that of the nodes with ready endpoints of the Service.
	health map[string]verdict
}

// candidate is a connected node.
type candidate struct {
	name  string
	ready bool // may be given addresses
}

// assign decides which node holds each address. An address stays with its node if that is eligible; otherwise the eligible
// node with the fewest addresses gets it. Without an eligible node it stays if the node is connected and, for a Local
// address, its health is not known to be failing; otherwise it is missing from the result.
func assign(current map[netip.Addr]string, services []service, nodes []candidate) map[netip.Addr]string {
	next, load := map[netip.Addr]string{}, map[string]int{}
	place := func(s service, node string) {
		next[s.addr] = node
		load[node]++
	}
	services = slices.SortedFunc(slices.Values(services), func(a, b service) int { return a.addr.Compare(b.addr) })
	var unplaced []service
	for _, s := range services {
		if holder := current[s.addr]; slices.Contains(eligible(s, nodes), holder) {
			place(s, holder)
		} else {
			unplaced = append(unplaced, s)
		}
	}
	for _, s := range unplaced {
		names := eligible(s, nodes)
		if len(names) == 0 {
			if holder := current[s.addr]; mayKeep(s, holder, nodes) {
				place(s, holder)
			}
			continue
		}
		place(s, slices.MinFunc(names, func(x, y string) int {
			return cmp.Or(cmp.Compare(load[x], load[y]), cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
		}))
	}
	return next
}

// eligible returns the nodes that may be given the address of a Service.
func eligible(s service, nodes []candidate) []string {
	var names []string
	for _, n := range nodes {
		if n.ready && (!s.local || s.health[n.name] == passing) {
			names = append(names, n.name)
		}
	}
	return names
}

// mayKeep reports whether an address may stay with its node although that is not eligible.
func mayKeep(s service, holder string, nodes []candidate) bool {
	if !slices.ContainsFunc(nodes, func(n candidate) bool { return n.name == holder }) {
		return false
	}
	if !s.local {
		return true
	}
	v, has := s.health[holder]
	return has && v != failing
}
