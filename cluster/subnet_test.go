package cluster

import (
	"errors"
	"net/netip"
	"testing"
)

func prefixes(s ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, p := range s {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}

func TestFreeSubnet(t *testing.T) {
	for _, c := range []struct {
		name  string
		taken []netip.Prefix
		want  string
	}{
		{"nothing taken", nil, "10.246.0.0/24"},
		{"a default route takes nothing", prefixes("0.0.0.0/0"), "10.246.0.0/24"},
		{"the next one", prefixes("10.246.0.0/24", "10.246.2.0/24"), "10.246.1.0/24"},
		{"one address is enough", prefixes("10.246.0.77/32"), "10.246.1.0/24"},
		{"a larger one", prefixes("10.0.0.0/8"), "172.31.0.0/24"},
		{"the last range", prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.224.0/24"), "192.168.225.0/24"},
	} {
		t.Run(c.name, func(t *testing.T) {
			have, err := FreeSubnet(c.taken)
			if err != nil || have.String() != c.want {
				t.Errorf("subnet %s, error %v, want %s", have, err, c.want)
			}
		})
	}
	if s, err := FreeSubnet(prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")); !errors.Is(err, ErrNoSubnet) {
		t.Errorf("all taken: %s, %v", s, err)
	}
}

func TestNodeAddress(t *testing.T) {
	subnet := netip.MustParsePrefix("10.246.7.0/24")
	for _, c := range []struct {
		node  string
		taken string
		want  string
	}{
		{"n1", "", "10.246.7.2"},
		{"n20", "", "10.246.7.21"},
		{"n1", "10.246.7.2", "10.246.7.3"},
		{"n300", "", "10.246.7.2"},
		{"n198", "", "10.246.7.199"},
		{"n199", "", "10.246.7.2"}, // .200 is a load balancer's
		{"n253", "", "10.246.7.2"},
		{"worker", "10.246.7.2", "10.246.7.3"},
		{"n-1", "", "10.246.7.2"},
	} {
		have, err := NodeAddress(subnet, c.node, func(a netip.Addr) bool { return a.String() == c.taken })
		if err != nil || have.String() != c.want {
			t.Errorf("%s with %q taken: %s, error %v, want %s", c.node, c.taken, have, err, c.want)
		}
	}
	if a, err := NodeAddress(subnet, "n1", func(netip.Addr) bool { return true }); err == nil {
		t.Errorf("full subnet: %s, no error", a)
	}
}

func TestParseRoute(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT", ""},
		{"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0", ""},
		{"docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0", "172.17.0.0/16"},
		{"eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0", "192.0.2.0/24"},
	} {
		have, ok := parseRoute(c.line)
		if ok != (c.want != "") || ok && have.String() != c.want {
			t.Errorf("%q: %s %t, want %q", c.line, have, ok, c.want)
		}
	}
}

func TestLoadBalancerRange(t *testing.T) {
	subnet := NodeSubnet(netip.MustParseAddr("10.246.7.2"))
	first, last := LoadBalancerRange(subnet)
	if have := subnet.String() + " " + first.String() + "-" + last.String(); have != "10.246.7.0/24 10.246.7.200-10.246.7.254" {
		t.Errorf("range %s", have)
	}
	if d := DynamicRange(subnet); d.Contains(first) || d.Contains(last) || !subnet.Contains(d.Addr()) {
		t.Errorf("dynamic range %s", d)
	}
	n := 0
	_, err := NodeAddress(subnet, "worker", func(a netip.Addr) bool {
		n++
		if !a.Less(first) {
			t.Errorf("%s is offered to a node", a)
		}
		return true
	})
	if err == nil || n != 198 {
		t.Errorf("%d addresses for nodes, error %v; want 198 and that it is full", n, err)
	}
}
