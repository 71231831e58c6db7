package tunnel

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
)

// DialNode connects to an address as seen from a node. The network is tcp, tcp4 or tcp6, the address an IP and a port.
// The connection has a CloseWrite method. The error is ErrNotConnected at once if the node has no session, and a
// [RefusedError] with the node's reason if the node could not connect.
func (h *Hub) DialNode(ctx context.Context, node, network, address string) (net.Conn, error) {
	conn, err := h.open(ctx, node, header{Kind: kindDial, Network: network, Address: address})
	if err != nil {
		return nil, fmt.Errorf("dial %s on node %s: %w", address, node, err)
	}
	return conn, nil
}

// DialAddress connects to an address of the cluster: for the gateway address with what Publish set for the port, or else
// LocalAPI; a loopback address from this process; any other on the node that owns it according to Router, or else with
// Direct.
func (h *Hub) DialAddress(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return h.direct(ctx, network, address)
	}
	if ip.Unmap() == h.Gateway.Unmap() {
		if dial := h.localPort(port); dial != nil {
			return dial(ctx)
		}
	}
	switch {
	case h.LocalAPI != nil && ip.Unmap() == h.Gateway.Unmap():
		return h.LocalAPI(ctx)
	case ip.Unmap().IsLoopback():
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}
	if h.Router != nil {
		if node, ok := h.Router.Node(ip.Unmap()); ok {
			return h.DialNode(ctx, node, network, address)
		}
	}
	return h.direct(ctx, network, address)
}

// Publish makes DialAddress use dial for a port of the gateway address, instead of the API server, until withdraw is
// called. Connections from nodes are not affected: on every port they reach the API server. A later call for the same port
// replaces an earlier one.
func (h *Hub) Publish(port uint16, dial func(ctx context.Context) (net.Conn, error)) (withdraw func()) {
	published := &dial
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ports == nil {
		h.ports = map[uint16]*func(ctx context.Context) (net.Conn, error){}
	}
	h.ports[port] = published
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.ports[port] == published { // else it has been replaced
			delete(h.ports, port)
		}
	}
}

// localPort returns what Publish set for a port, or nil.
func (h *Hub) localPort(port string) func(ctx context.Context) (net.Conn, error) {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if dial := h.ports[uint16(n)]; dial != nil {
		return *dial
	}
	return nil
}

func (h *Hub) direct(ctx context.Context, network, address string) (net.Conn, error) {
	if h.Direct == nil {
		return nil, fmt.Errorf("dial %s: %w", address, ErrNoRoute)
	}
	return h.Direct(ctx, network, address)
}

// AgentTransport sends requests to the HTTP handler of a node's agent; the host of a URL is ignored.
func (h *Hub) AgentTransport(node string) http.RoundTripper {
	return streamTransport(func(ctx context.Context) (net.Conn, error) {
		conn, err := h.open(ctx, node, header{Kind: kindAgent})
		if err != nil {
			return nil, fmt.Errorf("dial agent of node %s: %w", node, err)
		}
		return conn, nil
	})
}

func (h *Hub) open(ctx context.Context, node string, hd header) (net.Conn, error) {
	h.mu.Lock()
	session := h.sessions[node]
	h.mu.Unlock()
	if session == nil {
		return nil, ErrNotConnected
	}
	conn, err := open(ctx, session, hd)
	if err != nil && ctx.Err() == nil && session.IsClosed() {
		return nil, fmt.Errorf("%w: %w", ErrNotConnected, err)
	}
	return conn, err
}
