package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/tunnel"
)

// dnsRelay forwards DNS messages from the gateway address to the node's own resolver, without reading them. Docker's
// resolver exists in the node's network namespace only, where pods cannot reach it.
type dnsRelay struct {
	listen   netip.AddrPort
	upstream string // host:port
	log      *slog.Logger
}

const (
	dnsTimeout    = 5 * time.Second // for the resolver to answer; clients ask again
	dnsMaxMessage = 65535
	dnsMaxPending = 256 // queries at the same time; more are dropped, and clients ask again
)

func (d *dnsRelay) Name() cluster.ComponentName { return "dns-relay" }

// Run serves UDP and TCP until ctx is done.
func (d *dnsRelay) Run(ctx context.Context, ready func()) error {
	var lc net.ListenConfig
	packets, err := lc.ListenPacket(ctx, "udp4", d.listen.String())
	if err != nil {
		return fmt.Errorf("listen for DNS: %w", err)
	}
	defer packets.Close()
	streams, err := lc.Listen(ctx, "tcp4", d.listen.String())
	if err != nil {
		return fmt.Errorf("listen for DNS: %w", err)
	}
	defer streams.Close()
	stop := context.AfterFunc(ctx, func() { packets.Close(); streams.Close() })
	defer stop()
	ready()

	var wg sync.WaitGroup
	defer wg.Wait()
	failed := make(chan error, 2)
	wg.Go(func() { failed <- d.servePackets(ctx, packets) })
	wg.Go(func() { failed <- d.serveStreams(ctx, streams) })
	err = <-failed
	packets.Close()
	streams.Close()
	return errors.Join(ctx.Err(), err)
}

func (d *dnsRelay) servePackets(ctx context.Context, packets net.PacketConn) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	pending := make(chan struct{}, dnsMaxPending)
	buf := make([]byte, dnsMaxMessage)
	for {
		n, from, err := packets.ReadFrom(buf)
		if err != nil {
			return err
		}
		select {
		case pending <- struct{}{}:
		default:
			continue
		}
		question := append([]byte(nil), buf[:n]...)
		wg.Go(func() {
			defer func() { <-pending }()
			answer, err := d.ask(ctx, question)
			if err == nil {
				_, err = packets.WriteTo(answer, from)
			}
			if err != nil {
				d.log.Debug("forward DNS query", "err", err)
			}
		})
	}
}

// ask sends one query from a port of its own, so that answers cannot be mixed up.
func (d *dnsRelay) ask(ctx context.Context, question []byte) ([]byte, error) {
	dialer := net.Dialer{Timeout: dnsTimeout}
	conn, err := dialer.DialContext(ctx, "udp4", d.upstream)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(dnsTimeout)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	answer := make([]byte, dnsMaxMessage)
	n, err := conn.Read(answer)
	return answer[:n], err
}

func (d *dnsRelay) serveStreams(ctx context.Context, streams net.Listener) error {
	failed := func(err error) { d.log.Warn("accept for DNS", "err", err) }
	return cluster.Accept(ctx, streams, failed, func(ctx context.Context, conn net.Conn) {
		defer conn.Close()
		dialer := net.Dialer{Timeout: dnsTimeout}
		up, err := dialer.DialContext(ctx, "tcp4", d.upstream)
		if err != nil {
			d.log.Debug("connect to the resolver", "err", err)
			return
		}
		_ = conn.SetDeadline(time.Now().Add(2 * dnsTimeout))
		_ = up.SetDeadline(time.Now().Add(2 * dnsTimeout))
		tunnel.Pipe(ctx, conn, up)
	})
}
