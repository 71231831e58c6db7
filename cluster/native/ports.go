//go:build linux

package native

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/tunnel"
)

// Published ports are forwarded in user space by the node's supervisor: that needs no firewall rule on the host, works for
// the loopback address, and ends with the supervisor. The node sees the bridge's address as the peer.

const (
	dialTimeout = 10 * time.Second
	udpIdle     = 90 * time.Second // how long answers are passed back to a client after the last packet
	maxPacket   = 64 << 10
)

// publish listens on all ports and forwards to the node until ctx ends or stop is called, which returns once everything is
// closed.
func publish(ctx context.Context, ports []cluster.Port, node netip.Addr) (stop func(), err error) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	for _, p := range ports {
		from := p.HostAddress()
		to := netip.AddrPortFrom(node, uint16(p.Node)).String()
		switch p.Protocol {
		case "", "tcp":
			err = publishTCP(ctx, &wg, from, to)
		case "udp":
			err = publishUDP(ctx, &wg, from, to)
		default:
			err = fmt.Errorf("protocol %s: embedded nodes publish tcp and udp", p.Protocol)
		}
		if err != nil {
			cancel()
			wg.Wait()
			return nil, fmt.Errorf("publish port %d: %w", p.Host, err)
		}
	}
	return func() { cancel(); wg.Wait() }, nil
}

func publishTCP(ctx context.Context, wg *sync.WaitGroup, from, to string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", from)
	if err != nil {
		return err
	}
	wg.Go(func() { // the result is that ctx has ended
		_ = cluster.Accept(ctx, l, nil, func(ctx context.Context, client net.Conn) { forwardTCP(ctx, client, to) })
	})
	return nil
}

// forwardTCP connects a client to the node. If the node does not answer, the client sees its connection closed.
func forwardTCP(ctx context.Context, client net.Conn, to string) {
	dialer := net.Dialer{Timeout: dialTimeout}
	server, err := dialer.DialContext(ctx, "tcp", to)
	if err != nil {
		client.Close()
		return
	}
	tunnel.Pipe(ctx, client, server)
}

// udpForwarder forwards packets to a node, from a socket of its own for each client, and the answers back.
type udpForwarder struct {
	listener net.PacketConn
	to       string

	mu      sync.Mutex
	servers map[string]net.Conn // by client
}

func publishUDP(ctx context.Context, wg *sync.WaitGroup, from, to string) error {
	l, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", from)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	f := &udpForwarder{listener: l, to: to, servers: map[string]net.Conn{}}
	wg.Go(func() { f.run(ctx, wg) })
	return nil
}

// run forwards what clients send until the listener is closed. Packets that cannot be sent are lost, as UDP packets may be.
func (f *udpForwarder) run(ctx context.Context, wg *sync.WaitGroup) {
	packet := make([]byte, maxPacket)
	for {
		n, client, err := f.listener.ReadFrom(packet)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error about an earlier answer
		}
		server, err := f.server(ctx, wg, client)
		if err != nil {
			continue
		}
		_ = server.SetReadDeadline(time.Now().Add(udpIdle)) // fails only if server was closed in this moment
		_, _ = server.Write(packet[:n])
	}
}

// server returns the socket for a client, which is made for its first packet.
func (f *udpForwarder) server(ctx context.Context, wg *sync.WaitGroup, client net.Addr) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if server := f.servers[client.String()]; server != nil {
		return server, nil
	}
	server, err := (&net.Dialer{}).DialContext(ctx, "udp", f.to)
	if err != nil {
		return nil, err
	}
	f.servers[client.String()] = server
	wg.Go(func() {
		f.answer(ctx, client, server)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.servers, client.String())
	})
	return server, nil
}

// answer passes packets back to a client until there has been none in either direction for udpIdle.
func (f *udpForwarder) answer(ctx context.Context, client net.Addr, server net.Conn) {
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	packet := make([]byte, maxPacket)
	for {
		n, err := server.Read(packet)
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue // nothing listens in the node yet
		}
		if err != nil {
			return
		}
		_ = server.SetReadDeadline(time.Now().Add(udpIdle)) // fails only if server was closed in this moment
		if _, err := f.listener.WriteTo(packet[:n], client); err != nil {
			return
		}
	}
}
