package node

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
)

// Limits of the connections that pods hold to the API server through their node's gateway. A session of the tunnel takes 4096
// streams: what pods may use of them leaves a quarter to the kubelet, kube-proxy and the agent.
const (
	maxPodConns  = 256 // of one pod address; a client of Kubernetes needs one or two
	maxPodsConns = 3072
)

// podConns counts the connections of pods, by address. Connections of the node itself are not counted.
type podConns struct {
	pods netip.Prefix // the addresses of the cluster's pods
	log  *slog.Logger

	mu     sync.Mutex
	total  int
	byAddr map[netip.Addr]int
	warned map[netip.Addr]bool // until the address has no connection
}

// take counts a connection, and reports whether there is room for it; if so, release must be called at its end.
func (p *podConns) take(from net.Addr) (release func(), ok bool) {
	tcp, isTCP := from.(*net.TCPAddr)
	if !isTCP || !p.pods.Contains(tcp.AddrPort().Addr().Unmap()) {
		return func() {}, true
	}
	addr := tcp.AddrPort().Addr().Unmap()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byAddr[addr] >= maxPodConns || p.total >= maxPodsConns {
		if !p.warned[addr] {
			p.warned[addr] = true
			p.log.Warn("connection of a pod to the API server refused", "pod", addr, "its connections", p.byAddr[addr], "of all pods", p.total)
		}
		return nil, false
	}
	p.byAddr[addr]++
	p.total++
	return func() { p.release(addr) }, true
}

func (p *podConns) release(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total--
	if p.byAddr[addr]--; p.byAddr[addr] == 0 {
		delete(p.byAddr, addr)
		delete(p.warned, addr)
	}
}

func newPodConns(pods netip.Prefix, log *slog.Logger) *podConns {
	return &podConns{pods: pods, log: log, byAddr: map[netip.Addr]int{}, warned: map[netip.Addr]bool{}}
}
