package tunnel

import (
	"net/netip"
	"testing"
)

func TestRoutes(t *testing.T) {
	r := new(Routes)
	prefixes := func(s ...string) []netip.Prefix {
		var out []netip.Prefix
		for _, s := range s {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	r.Set("n1", prefixes("172.18.0.2/32", "10.244.0.0/24")...)
	r.Set("n2", prefixes("172.18.0.3/32", "10.244.0.128/25", "fd00::/64")...)
	r.Set("gone", prefixes("10.244.9.0/24")...)
	r.Set("gone")
	tests := []struct{ name, addr, want string }{
		{"node", "172.18.0.2", "n1"},
		{"pod", "10.244.0.5", "n1"},
		{"longest prefix", "10.244.0.130", "n2"},
		{"IPv6", "fd00::7", "n2"},
		{"IPv4 in IPv6", "::ffff:172.18.0.3", "n2"},
		{"removed", "10.244.9.1", ""},
		{"unowned", "8.8.8.8", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			node, ok := r.Node(netip.MustParseAddr(tt.addr))
			if node != tt.want || ok != (tt.want != "") {
				t.Errorf("Node(%s) = %q, %v, want %q", tt.addr, node, ok, tt.want)
			}
		})
	}
}
