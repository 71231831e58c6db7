package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
)

// echoResolver answers each message with itself and "!", over UDP and TCP on the same port.
func echoResolver(t *testing.T) string {
	t.Helper()
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := packets.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(append(buf[:n:n], '!'), from)
		}
	}()
	streams, err := net.Listen("tcp4", packets.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { streams.Close() })
	go func() {
		for {
			conn, err := streams.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				data, _ := io.ReadAll(conn)
				_, _ = conn.Write(append(data, '!'))
			}()
		}
	}()
	return packets.LocalAddr().String()
}

// freePort returns a loopback port that was free for TCP a moment ago.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

func TestDNSRelay(t *testing.T) {
	relay := &dnsRelay{listen: freePort(t), upstream: echoResolver(t), log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- relay.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	for _, network := range []string{"udp4", "tcp4"} {
		t.Run(network, func(t *testing.T) {
			conn, err := net.Dial(network, relay.listen.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("question")); err != nil {
				t.Fatal(err)
			}
			if half, ok := conn.(*net.TCPConn); ok { // the answer must come although this direction has ended
				if err := half.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			buf := make([]byte, 100)
			n, err := conn.Read(buf)
			if err != nil || !bytes.Equal(buf[:n], []byte("question!")) {
				t.Errorf("answer %q, err %v", buf[:n], err)
			}
		})
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the relay does not stop")
	}
}
