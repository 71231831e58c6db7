package node

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// TestPodConns has one pod, and then many, take all the connections that they get: the node and other pods are served all the same.
func TestPodConns(t *testing.T) {
	var log bytes.Buffer
	p := newPodConns(netip.MustParsePrefix("10.244.0.0/16"), slog.New(slog.NewTextHandler(&log, nil)))
	from := func(ip string) net.Addr {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 40000))
	}
	fill := func(ip string) (releases []func()) {
		for {
			release, ok := p.take(from(ip))
			if !ok {
				return releases
			}
			releases = append(releases, release)
		}
	}
	greedy := fill("10.244.0.2")
	if len(greedy) != maxPodConns {
		t.Errorf("a pod has %d connections, want %d", len(greedy), maxPodConns)
	}
	if _, ok := p.take(from("10.244.0.2")); ok || strings.Count(log.String(), "refused") != 1 {
		t.Errorf("one more: %t; the log says\n%s", ok, &log)
	}
	if _, ok := p.take(from("10.244.0.3")); !ok {
		t.Error("another pod is refused")
	}
	for i := range 255 {
		fill(netip.AddrFrom4([4]byte{10, 244, 1, byte(i)}).String())
	}
	if _, ok := p.take(from("10.244.2.1")); ok || p.total != maxPodsConns {
		t.Errorf("all pods together have %d connections, want %d", p.total, maxPodsConns)
	}
	for _, node := range []string{"172.18.0.2", "10.245.0.1"} {
		if release, ok := p.take(from(node)); !ok {
			t.Errorf("the node itself is refused at %s", node)
		} else {
			release()
		}
	}
	for _, release := range greedy {
		release()
	}
	if _, ok := p.take(from("10.244.2.1")); !ok {
		t.Error("no room after a pod has ended its connections")
	}
}
