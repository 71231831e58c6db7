//go:build linux

package native

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/klkube/kl/cluster"
)

// addBridge adds a bridge to the test's network namespace, as another program would.
func addBridge(t *testing.T, name string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		t.Fatal(err)
	}
}

// TestForwardingIsRestored: the last cluster puts back what the machine's forwarding was, also when an earlier attempt crashed.
func TestForwardingIsRestored(t *testing.T) {
	one, two := scope{"01234567"}, scope{"89abcdef"}
	up := func(t *testing.T, s scope, subnet string) {
		t.Helper()
		if err := s.ensureNetwork(netip.MustParsePrefix(subnet)); err != nil {
			t.Fatal(err)
		}
	}
	down := func(t *testing.T, s scope) {
		t.Helper()
		if err := s.removeNetwork(); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		former string
		do     func(t *testing.T)
		want   string
	}{
		{"one cluster", "0", func(t *testing.T) { up(t, one, "10.246.9.0/24"); down(t, one) }, "0"},
		{"was on", "1", func(t *testing.T) { up(t, one, "10.246.9.0/24"); down(t, one) }, "1"},
		{"the first of two", "0", func(t *testing.T) { up(t, one, "10.246.9.0/24"); up(t, two, "10.246.8.0/24"); down(t, one) }, "1"},
		{"both", "0", func(t *testing.T) {
			up(t, one, "10.246.9.0/24")
			up(t, two, "10.246.8.0/24")
			down(t, one)
			down(t, two)
		}, "0"},
		{"a crash after the bridge was removed", "0", func(t *testing.T) {
			up(t, one, "10.246.9.0/24")
			if err := removeLink(one.bridge()); err != nil {
				t.Fatal(err)
			}
			up(t, one, "10.246.9.0/24")
			down(t, one)
		}, "0"},
		{"with a bridge of before", "0", func(t *testing.T) { addBridge(t, "br0"); up(t, one, "10.246.9.0/24"); down(t, one) }, "0"},
		{"with a bridge made meanwhile", "0", func(t *testing.T) { up(t, one, "10.246.9.0/24"); addBridge(t, "docker0"); down(t, one) }, "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ownNetwork(t)
			if err := os.MkdirAll(runDir, 0o711); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(forwardFile, []byte(tt.former), 0); err != nil {
				t.Fatal(err)
			}
			tt.do(t)
			now, err := os.ReadFile(forwardFile)
			if err != nil {
				t.Fatal(err)
			}
			if have := strings.TrimSpace(string(now)); have != tt.want {
				t.Errorf("ip_forward is %s, want %s", have, tt.want)
			}
			_, err = os.Stat(cluster.ForwardingFile("/"))
			if pending := tt.former == "0" && len(ownBridges(t)) > 0; (err == nil) != pending {
				t.Errorf("remembered: %v, want %v", err == nil, pending)
			}
			_ = os.Remove(cluster.ForwardingFile("/"))
		})
	}
}

func ownBridges(t *testing.T) []string {
	t.Helper()
	all, err := bridges()
	if err != nil {
		t.Fatal(err)
	}
	var own []string
	for _, b := range all {
		if ownBridge(b) {
			own = append(own, b)
		}
	}
	return own
}

// TestNeighbours: a host on the machine's network, with a route to the nodes through the machine, reaches none of them; the
// machine does, and nodes reach the neighbour.
func TestNeighbours(t *testing.T) {
	ownNetwork(t)
	if err := os.MkdirAll(runDir, 0o711); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(cluster.ForwardingFile("/"))
	s := scope{"01234567"}
	subnet := netip.MustParsePrefix("10.246.9.0/24")
	if err := s.ensureNetwork(subnet); err != nil {
		t.Fatal(err)
	}
	neighbour := hostAt(t, "", "192.0.2.1/24", "192.0.2.2/24")
	node := hostAt(t, s.bridge(), "", "10.246.9.2/24")
	serveAt(t, node, "10.246.9.2:80")
	serveAt(t, node, "10.246.9.200:80") // a load balancer's
	serveAt(t, neighbour, "192.0.2.2:80")
	for _, address := range []string{"10.246.9.2:80", "10.246.9.200:80"} {
		if !reachesFrom(t, 0, address) {
			t.Errorf("the machine does not reach %s", address)
		}
		if reachesFrom(t, neighbour, address) {
			t.Errorf("a neighbour reaches %s", address)
		}
	}
	if !reachesFrom(t, node, "192.0.2.2:80") {
		t.Error("the node does not reach the neighbour")
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	c.FlushChain(&nftables.Chain{Name: "forward", Table: &nftables.Table{Family: nftables.TableFamilyIPv4, Name: s.table()}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if !reachesFrom(t, neighbour, "10.246.9.2:80") {
		t.Error("without the rules, the neighbour does not reach the node either: the test proves nothing")
	}
}

// hostAt makes another host: a network namespace with eth0 connected to this one, on a bridge if one is named. It returns the
// namespace.
func hostAt(t *testing.T, bridge, here, there string) netns.NsHandle {
	t.Helper()
	own, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	if err := netns.Set(own); err != nil {
		t.Fatal(err)
	}
	dev := "to" + strings.ReplaceAll(strings.Split(there, "/")[0], ".", "")
	steps := [][]string{{"link", "add", dev, "type", "veth", "peer", "name", "eth0"}, {"link", "set", dev, "up"}}
	if bridge != "" {
		steps = append(steps, []string{"link", "set", dev, "master", bridge})
	} else {
		steps = append(steps, []string{"addr", "add", here, "dev", dev})
	}
	for _, s := range steps {
		ip(t, s...)
	}
	link, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetNsFd(link, int(ns)); err != nil {
		t.Fatal(err)
	}
	gateway := strings.TrimSuffix(here, "/24")
	if bridge != "" {
		gateway = "10.246.9.1"
	}
	inside(t, ns, func() {
		ip(t, "addr", "add", there, "dev", "eth0")
		if bridge != "" {
			ip(t, "addr", "add", "10.246.9.200/32", "dev", "eth0")
		}
		ip(t, "link", "set", "eth0", "up")
		ip(t, "link", "set", "lo", "up")
		ip(t, "route", "add", "default", "via", gateway)
	})
	return ns
}

// ip runs the program in the network namespace of this thread.
func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// inside calls do in a network namespace, on this thread.
func inside(t *testing.T, ns netns.NsHandle, do func()) {
	t.Helper()
	own, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	if err := netns.Set(ns); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := netns.Set(own); err != nil {
			t.Fatal(err)
		}
	}()
	do()
}

// serveAt accepts connections in a namespace until the test ends.
func serveAt(t *testing.T, ns netns.NsHandle, address string) {
	t.Helper()
	inside(t, ns, func() {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
	})
}

// reachesFrom reports whether a connection succeeds from a namespace; 0 is the test's.
func reachesFrom(t *testing.T, ns netns.NsHandle, address string) bool {
	t.Helper()
	ok := false
	try := func() {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		c, err := new(net.Dialer).DialContext(ctx, "tcp4", address)
		if ok = err == nil; ok {
			c.Close()
		}
	}
	if ns == 0 {
		try()
	} else {
		inside(t, ns, try)
	}
	runtime.KeepAlive(ns)
	return ok
}
