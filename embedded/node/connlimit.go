package node

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"k8s.io/kubernetes/pkg/cluster/ports"
)

// Limits of the connections between pods and the API server, in each direction: those that pods make through their node's gateway,
// and those that the control plane makes into the node. A session of the tunnel takes 4096 streams: what others may use of them
// leaves a quarter to the kubelet, kube-proxy and the agent.
const (
	maxPodConns = 256 // of one pod address; a client of Kubernetes needs one or two
	maxConns    = 3072
)

// connLimit counts the connections of one direction.
type connLimit struct {
	pods netip.Prefix // the addresses of the cluster's pods, which are counted one by one, too
	free func(netip.AddrPort) bool
	log  *slog.Logger

	mu     sync.Mutex
	total  int
	byAddr map[netip.Addr]int
	warned map[netip.Addr]bool // until the address has no connection
}

// limitFromPods limits what pods connect to. Connections of the node itself are not counted.
func limitFromPods(pods netip.Prefix, log *slog.Logger) *connLimit {
	return newConnLimit(pods, func(from netip.AddrPort) bool { return !pods.Contains(from.Addr()) }, log)
}

// limitToNode limits what the control plane connects to in the node. Connections to the kubelet are not counted.
func limitToNode(pods netip.Prefix, node netip.Addr, log *slog.Logger) *connLimit {
	kubelet := netip.AddrPortFrom(node, ports.KubeletPort)
	return newConnLimit(pods, func(to netip.AddrPort) bool { return to == kubelet }, log)
}

func newConnLimit(pods netip.Prefix, free func(netip.AddrPort) bool, log *slog.Logger) *connLimit {
	return &connLimit{pods: pods, free: free, log: log, byAddr: map[netip.Addr]int{}, warned: map[netip.Addr]bool{}}
}

// take counts a connection of an address. If there is room for it, release must be called at its end.
func (l *connLimit) take(of netip.AddrPort) (release func(), err error) {
	if l.free(of) {
		return func() {}, nil
	}
	addr := of.Addr()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.check(addr); err != nil {
		if !l.warned[addr] {
			l.warned[addr] = true
			l.log.Warn("connection through the tunnel refused", "address", addr, "reason", err)
		}
		return nil, err
	}
	l.byAddr[addr]++
	l.total++
	return func() { l.release(addr) }, nil
}

// check returns why there is no room; mu is held.
func (l *connLimit) check(addr netip.Addr) error {
	if n := l.byAddr[addr]; l.pods.Contains(addr) && n >= maxPodConns {
		return fmt.Errorf("pod %s has %d connections through the tunnel, and may have no more", addr, n)
	}
	if l.total >= maxConns {
		return fmt.Errorf("pods and Services of the node have %d connections through the tunnel, and may have no more", l.total)
	}
	return nil
}

func (l *connLimit) release(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.byAddr[addr]--; l.byAddr[addr] == 0 {
		delete(l.byAddr, addr)
		delete(l.warned, addr)
	}
}
