//go:build linux

package native

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/klkube/kl/cluster"
)

// A published port is copied in user space by the node's supervisor: that needs no rule on the host, works for the
// loopback address, and ends with the supervisor. The node sees the bridge's address as the peer.

// udpIdle is how long a client's way back is kept after its last packet.
const udpIdle = 90 * time.Second

// publish listens on all ports and copies until ctx ends; then wait returns once everything is closed.
func publish(ctx context.Context, ports []cluster.Port, node netip.Addr) (wait func(), err error) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	for _, p := range ports {
		from := net.JoinHostPort(cmp.Or(p.Address, "127.0.0.1"), strconv.Itoa(p.Host))
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
	context.AfterFunc(ctx, func() { l.Close() })
	wg.Go(func() {
		for {
			client, err := l.Accept()
			switch {
			case errors.Is(err, net.ErrClosed):
				return
			case err != nil: // out of descriptors, or the client has gone: others may do better
				if poll(ctx, func() (bool, error) { return true, nil }) != nil {
					return
				}
			default:
				wg.Go(func() { copyTCP(ctx, client, to) })
			}
		}
	})
	return nil
}

// copyTCP copies both ways, passing on when one side has finished speaking.
func copyTCP(ctx context.Context, client net.Conn, to string) {
	defer client.Close()
	dialer := net.Dialer{Timeout: 10 * time.Second}
	server, err := dialer.DialContext(ctx, "tcp", to)
	if err != nil {
		return // the client sees its connection closed, as if nothing listened
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { client.Close(); server.Close() })
	defer stop()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		wg.Go(func() {
			if _, err := io.Copy(way[1], way[0]); err != nil {
				way[0].Close()
				way[1].Close()
			}
			_ = way[1].(*net.TCPConn).CloseWrite()
		})
	}
	wg.Wait()
}

func publishUDP(ctx context.Context, wg *sync.WaitGroup, from, to string) error {
	l, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", from)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { l.Close() })
	wg.Go(func() {
		var mu sync.Mutex
		servers := map[string]net.Conn{} // by client
		packet := make([]byte, 64<<10)
		for {
			n, client, err := l.ReadFrom(packet)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // an ICMP error of an earlier answer
			}
			mu.Lock()
			server := servers[client.String()]
			mu.Unlock()
			if server == nil {
				if server, err = (&net.Dialer{}).DialContext(ctx, "udp", to); err != nil {
					continue
				}
				mu.Lock()
				servers[client.String()] = server
				mu.Unlock()
				wg.Go(func() {
					answer(ctx, l, client, server)
					mu.Lock()
					delete(servers, client.String())
					mu.Unlock()
				})
			}
			_ = server.SetReadDeadline(time.Now().Add(udpIdle))
			_, _ = server.Write(packet[:n])
		}
	})
	return nil
}

// answer passes packets back to a client until there has been none either way for udpIdle.
func answer(ctx context.Context, l net.PacketConn, client net.Addr, server net.Conn) {
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	packet := make([]byte, 64<<10)
	for {
		n, err := server.Read(packet)
		if refused := errors.Is(err, syscall.ECONNREFUSED); err != nil && !refused {
			return
		} else if refused {
			continue // nothing listens in the node yet
		}
		_ = server.SetReadDeadline(time.Now().Add(udpIdle))
		if _, err := l.WriteTo(packet[:n], client); err != nil {
			return
		}
	}
}
