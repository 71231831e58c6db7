package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
)

// connectTo speaks to the proxy as the API server does.
func connectTo(t *testing.T, socket, address string) (net.Conn, *http.Response) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(timeout(t), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", address, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK && br.Buffered() > 0 {
		t.Fatal("the proxy sent data of its own")
	}
	return conn, resp
}

func TestServeConnect(t *testing.T) {
	p := newPair(t, nil)
	target := serveTCP(t, echo)
	routes := new(Routes)
	routes.Set("n1", netip.MustParsePrefix("10.244.0.0/24"))
	socket := filepath.Join(t.TempDir(), "c.sock")
	l := listenUnix(t, socket)
	stop := background(t, func(ctx context.Context) error {
		return ServeConnect(ctx, l, func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == "10.244.0.9:443" {
				return p.hub.DialNode(ctx, "n1", network, target)
			}
			return nil, errors.New("no way\r\nto " + address)
		})
	})
	t.Run("connects", func(t *testing.T) {
		conn, resp := connectTo(t, socket, "10.244.0.9:443")
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("status is %s", resp.Status)
		}
		checkEcho(t, conn, strings.Repeat("ping", 100_000))
	})
	t.Run("says why not", func(t *testing.T) {
		_, resp := connectTo(t, socket, "10.244.3.9:443")
		if got, want := resp.Header.Get("Proxy-Status"), `kl; details="no way\r\nto 10.244.3.9:443"`; resp.StatusCode != http.StatusBadGateway || got != want {
			t.Errorf("answer is %s with %q, want %q", resp.Status, got, want)
		}
	})
	t.Run("other methods", func(t *testing.T) {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
		req, err := http.NewRequestWithContext(timeout(t), http.MethodGet, "http://proxy/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("status is %s", resp.Status)
		}
	})
	t.Run("stop cuts connections", func(t *testing.T) {
		conn, _ := connectTo(t, socket, "10.244.0.9:443")
		stop()
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("read after the stop: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after the stop: %v", err)
		}
	})
}

func TestPipeEndsWithContext(t *testing.T) {
	a, b := net.Pipe()
	c, d := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { Pipe(ctx, b, c); close(done) }()
	if _, err := a.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(d, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	if _, err := a.Write([]byte("y")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write after the end: %v", err)
	}
}
