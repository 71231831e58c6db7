package tunnel

import (
	"net/netip"
	"slices"
	"sync"
)

// Router knows which node owns an address.
type Router interface {
	// Node returns the name of the node that has addr, itself or for one of its pods; false if no node has.
	Node(addr netip.Addr) (node string, ok bool)
}

// Routes is a Router that is filled with Set. The zero value routes nothing. It is safe for concurrent use.
type Routes struct {
	mu    sync.RWMutex
	nodes map[string][]netip.Prefix
}

var _ Router = (*Routes)(nil)

// Set replaces the prefixes that a node owns; without any the node is removed.
func (r *Routes) Set(node string, owned ...netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(owned) == 0 {
		delete(r.nodes, node)
		return
	}
	if r.nodes == nil {
		r.nodes = make(map[string][]netip.Prefix)
	}
	r.nodes[node] = slices.Clone(owned)
}

// Node returns the owner of the longest prefix that contains addr; of several, the first by name.
func (r *Routes) Node(addr netip.Addr) (string, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	addr = addr.Unmap()
	best, bits := "", -1
	for node, owned := range r.nodes {
		for _, p := range owned {
			if p.Contains(addr) && (p.Bits() > bits || p.Bits() == bits && node < best) {
				best, bits = node, p.Bits()
			}
		}
	}
	return best, bits >= 0
}
