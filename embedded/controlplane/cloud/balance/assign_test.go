package balance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func addr(last int) netip.Addr { return netip.AddrFrom4([4]byte{10, 246, 0, byte(last)}) }

// parseServices reads "200 201:n1=passing,n2=failing": a Cluster and a Local Service.
func parseServices(text string) []service {
	var list []service
	for _, f := range strings.Fields(text) {
		number, health, local := strings.Cut(f, ":")
		s := service{local: local, health: map[string]verdict{}}
		var last int
		fmt.Sscan(number, &last)
		s.addr = addr(last)
		for h := range strings.SplitSeq(health, ",") {
			if node, v, ok := strings.Cut(h, "="); ok {
				s.health[node] = map[string]verdict{"passing": passing, "failing": failing, "unknown": unknown}[v]
			}
		}
		list = append(list, s)
	}
	return list
}

// parseNodes reads "n1 n2:NotReady".
func parseNodes(text string) []candidate {
	var list []candidate
	for _, f := range strings.Fields(text) {
		name, _, unready := strings.Cut(f, ":")
		list = append(list, candidate{name: name, ready: !unready})
	}
	return list
}

func show(a map[netip.Addr]string) string {
	var list []string
	for x, node := range a {
		list = append(list, fmt.Sprintf("%d=%s", x.As4()[3], node))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestAssign(t *testing.T) {
	for _, c := range []struct {
		name     string
		current  map[netip.Addr]string
		services string
		nodes    string
		want     string
	}{
		{"addresses are spread", nil, "200 201 202", "n1 n2", "200=n1 201=n2 202=n1"},
		{"addresses stay", map[netip.Addr]string{addr(200): "n2", addr(201): "n2"}, "200 201", "n1 n2", "200=n2 201=n2"},
		{"a new one goes to the node with the fewest", map[netip.Addr]string{addr(200): "n1", addr(201): "n1"}, "200 201 202", "n1 n2", "200=n1 201=n1 202=n2"},
		{"a node is gone", map[netip.Addr]string{addr(200): "n1", addr(201): "n2"}, "200 201", "n2 n3", "200=n3 201=n2"},
		{"a node is not ready", map[netip.Addr]string{addr(200): "n1"}, "200", "n1:NotReady n2", "200=n2"},
		{"no node is ready", map[netip.Addr]string{addr(200): "n1"}, "200 201", "n1:NotReady n2:NotReady", "200=n1"},
		{"no node at all", map[netip.Addr]string{addr(200): "n1"}, "200", "", ""},
		{"a Service is gone", map[netip.Addr]string{addr(200): "n1", addr(201): "n1"}, "201", "n1", "201=n1"},
		{"local: where its endpoints are", nil, "200:n2=passing", "n1 n2 n3", "200=n2"},
		{"local: no endpoints", map[netip.Addr]string{addr(200): "n1"}, "200:", "n1 n2", ""},
		{"local: endpoints move", map[netip.Addr]string{addr(200): "n1"}, "200:n2=passing", "n1 n2", "200=n2"},
		{"local: the check fails", map[netip.Addr]string{addr(200): "n1"}, "200:n1=failing,n2=passing", "n1 n2", "200=n2"},
		{"local: every check fails", map[netip.Addr]string{addr(200): "n1"}, "200:n1=failing,n2=failing", "n1 n2", ""},
		{"local: no answer, and another passes", map[netip.Addr]string{addr(200): "n1"}, "200:n1=unknown,n2=passing", "n1 n2", "200=n2"},
		{"local: no answer, and no other passes", map[netip.Addr]string{addr(200): "n1"}, "200:n1=unknown,n2=unknown", "n1 n2", "200=n1"},
		{"local: not before the first answer", nil, "200:n1=unknown", "n1", ""},
		{"local: the holder is not connected", map[netip.Addr]string{addr(200): "n1"}, "200:n1=passing", "n2", ""},
		{"local: the holder is not ready, and no other passes", map[netip.Addr]string{addr(200): "n1"}, "200:n1=passing", "n1:NotReady n2", "200=n1"},
		{"n10 comes after n9", nil, "200", "n10 n9", "200=n9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			have := show(assign(c.current, parseServices(c.services), parseNodes(c.nodes)))
			if d := cmp.Diff(c.want, have); d != "" {
				t.Errorf("assignment (-want +got):\n%s", d)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	h := &health{}
	for i, c := range []struct{ answer, want verdict }{
		{unknown, unknown}, {passing, passing}, {unknown, passing}, {unknown, passing}, {passing, passing},
		{unknown, passing}, {unknown, passing}, {unknown, unknown}, {unknown, unknown}, {failing, failing}, {passing, passing},
	} {
		if have := h.update(c.answer); have != c.want {
			t.Errorf("answer %d: verdict %d, want %d", i, have, c.want)
		}
	}
}
