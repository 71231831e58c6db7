package tunnel

import (
	"net/netip"
	"slices"
	"sync"
)

// Router tells which node owns an address: a node's own address or one of its pods'.
type Router interface {
	Node(addr netip.Addr) (node string, ok bool)
}

// Routes is a Router that is told what each node owns. The zero value routes nothing. It is safe for concurrent use.
type Routes struct {
	mu    sync.RWMutex
	nodes map[string][]netip.Prefix
}

var _ Router = (*Routes)(nil)

// Set replaces what a node owns; nothing removes the node.
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

// Node is the owner of the longest prefix that holds addr; of equals, the first by name.
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
