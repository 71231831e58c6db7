package cloud

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func addr(last int) netip.Addr { return netip.AddrFrom4([4]byte{10, 246, 0, byte(last)}) }

// parse reads what a line of the table says: "200 201:Local n1=passing,n2=failing" and "n1 n2:NotReady".
func parseBalancers(text string) []balancer {
	var list []balancer
	for _, f := range strings.Fields(text) {
		number, health, local := strings.Cut(f, ":")
		b := balancer{local: local, health: map[string]verdict{}}
		var last int
		fmt.Sscan(number, &last)
		b.addr = addr(last)
		for h := range strings.SplitSeq(health, ",") {
			if node, v, ok := strings.Cut(h, "="); ok {
				b.health[node] = map[string]verdict{"passing": passing, "failing": failing, "unknown": unknown}[v]
			}
		}
		list = append(list, b)
	}
	return list
}

func parseMachines(text string) []machine {
	var list []machine
	for _, f := range strings.Fields(text) {
		name, _, unready := strings.Cut(f, ":")
		list = append(list, machine{name: name, ready: !unready})
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
		name      string
		current   map[netip.Addr]string
		balancers string
		machines  string
		want      string
	}{
		{"addresses are spread", nil, "200 201 202", "n1 n2", "200=n1 201=n2 202=n1"},
		{"and stay", map[netip.Addr]string{addr(200): "n2", addr(201): "n2"}, "200 201", "n1 n2", "200=n2 201=n2"},
		{"new ones go where there are few", map[netip.Addr]string{addr(200): "n1", addr(201): "n1"}, "200 201 202", "n1 n2", "200=n1 201=n1 202=n2"},
		{"a node has gone", map[netip.Addr]string{addr(200): "n1", addr(201): "n2"}, "200 201", "n2 n3", "200=n3 201=n2"},
		{"a node is not ready", map[netip.Addr]string{addr(200): "n1"}, "200", "n1:NotReady n2", "200=n2"},
		{"no node is ready", map[netip.Addr]string{addr(200): "n1"}, "200 201", "n1:NotReady n2:NotReady", "200=n1"},
		{"no node at all", map[netip.Addr]string{addr(200): "n1"}, "200", "", ""},
		{"a Service has gone", map[netip.Addr]string{addr(200): "n1", addr(201): "n1"}, "201", "n1", "201=n1"},
		{"local: where its endpoints are", nil, "200:n2=passing", "n1 n2 n3", "200=n2"},
		{"local: nowhere", map[netip.Addr]string{addr(200): "n1"}, "200:", "n1 n2", ""},
		{"local: endpoints move", map[netip.Addr]string{addr(200): "n1"}, "200:n2=passing", "n1 n2", "200=n2"},
		{"local: the check fails", map[netip.Addr]string{addr(200): "n1"}, "200:n1=failing,n2=passing", "n1 n2", "200=n2"},
		{"local: every check fails", map[netip.Addr]string{addr(200): "n1"}, "200:n1=failing,n2=failing", "n1 n2", ""},
		{"local: no answer, and another passes", map[netip.Addr]string{addr(200): "n1"}, "200:n1=unknown,n2=passing", "n1 n2", "200=n2"},
		{"local: no answer, and none is better", map[netip.Addr]string{addr(200): "n1"}, "200:n1=unknown,n2=unknown", "n1 n2", "200=n1"},
		{"local: not before the first answer", nil, "200:n1=unknown", "n1", ""},
		{"local: the holder is not connected", map[netip.Addr]string{addr(200): "n1"}, "200:n1=passing", "n2", ""},
		{"local: the holder is not ready and has no better", map[netip.Addr]string{addr(200): "n1"}, "200:n1=passing", "n1:NotReady n2", "200=n1"},
		{"n10 comes after n9", nil, "200", "n10 n9", "200=n9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			have := show(assign(c.current, parseBalancers(c.balancers), parseMachines(c.machines)))
			if d := cmp.Diff(c.want, have); d != "" {
				t.Errorf("assignment (-want +got):\n%s", d)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	k := &health{}
	for i, c := range []struct{ answer, want verdict }{
		{unknown, unknown}, {passing, passing}, {unknown, passing}, {unknown, passing}, {passing, passing},
		{unknown, passing}, {unknown, passing}, {unknown, unknown}, {unknown, unknown}, {failing, failing}, {passing, passing},
	} {
		if have := k.update(c.answer); have != c.want {
			t.Errorf("answer %d: verdict %d, want %d", i, have, c.want)
		}
	}
}
