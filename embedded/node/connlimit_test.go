package node

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
)

const kubeletOf = "172.18.0.2:10250"

// fill takes connections of an address until there is no room for more.
func fill(l *connLimit, ip string) (releases []func()) {
	for {
		release, err := l.take(netip.MustParseAddrPort(ip + ":40000"))
		if err != nil {
			return releases
		}
		releases = append(releases, release)
	}
}

// TestConnLimit has one pod, and then many, take all the connections that they get: the node and other pods are served all the same,
// in both directions.
func TestConnLimit(t *testing.T) {
	pods, node := netip.MustParsePrefix("10.244.0.0/16"), netip.MustParseAddrPort(kubeletOf).Addr()
	for name, c := range map[string]struct {
		limit func(*slog.Logger) *connLimit
		free  []string
	}{
		"from pods": {func(log *slog.Logger) *connLimit { return limitFromPods(pods, log) }, []string{kubeletOf, "10.245.0.1:40000"}},
		"to a node": {func(log *slog.Logger) *connLimit { return limitToNode(pods, node, log) }, []string{kubeletOf}},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			l := c.limit(slog.New(slog.NewTextHandler(&log, nil)))
			room := func(of string) bool {
				_, err := l.take(netip.MustParseAddrPort(of))
				return err == nil
			}
			greedy := fill(l, "10.244.0.2")
			if len(greedy) != maxPodConns {
				t.Errorf("a pod has %d connections, want %d", len(greedy), maxPodConns)
			}
			if room("10.244.0.2:1") || strings.Count(log.String(), "refused") != 1 {
				t.Errorf("there is room for one more, or the log says\n%s", &log)
			}
			if !room("10.244.0.3:1") {
				t.Error("another pod is refused")
			}
			for i := range 255 {
				fill(l, netip.AddrFrom4([4]byte{10, 244, 1, byte(i)}).String())
			}
			if room("10.244.2.1:1") || l.total != maxConns {
				t.Errorf("all together have %d connections, want %d", l.total, maxConns)
			}
			for _, of := range c.free {
				if !room(of) {
					t.Errorf("no room for %s", of)
				}
			}
			for _, release := range greedy {
				release()
			}
			if !room("10.244.2.1:1") {
				t.Error("no room after a pod has ended its connections")
			}
		})
	}
}

// Ports of nodes, which Services have, take no more than their share either: it is not bounded by address, for all of a Service's
// clients come to one.
func TestConnLimitOfServices(t *testing.T) {
	l := limitToNode(netip.MustParsePrefix("10.244.0.0/16"), netip.MustParseAddrPort(kubeletOf).Addr(), slog.New(slog.DiscardHandler))
	if n := len(fill(l, "172.18.0.2")); n != maxConns {
		t.Errorf("a Service has %d connections, want %d", n, maxConns)
	}
	if _, err := l.take(netip.MustParseAddrPort("172.18.0.200:80")); err == nil {
		t.Error("another Service has room")
	}
	if _, err := l.take(netip.MustParseAddrPort(kubeletOf)); err != nil {
		t.Errorf("the kubelet is refused: %v", err)
	}
}
