package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// Resolve returns the address of one end of a connection: namespace/name of a pod, node/name, gateway, or an address. It is the
// inverse of Describe, except for pods on the host network, for which Describe returns their node.
func (m *Model) Resolve(end string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(end); err == nil {
		return a.Unmap(), nil
	}
	if end == "gateway" && m.gateway.IsValid() {
		return m.gateway, nil
	}
	if p := m.byName[end]; p != nil {
		return p.Addrs[0], nil
	}
	if node, ok := strings.CutPrefix(end, "node/"); ok {
		if a, known := m.nodeAddr[node]; known {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%q is no running pod (namespace/name), node (node/name) or address", end)
}
