package tunnel

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	certutil "k8s.io/client-go/util/cert"
)

const testTimeout = 30 * time.Second // of a wait that ends at once unless the code is wrong

// background runs f until the test ends and checks that it returned ctx's error.
func background(t testing.TB, f func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("returned %v, want context.Canceled", err)
			}
		case <-time.After(testTimeout):
			t.Error("does not return after its context ended")
		}
	}
	t.Cleanup(stop)
	return stop
}

func timeout(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func listenUnix(t testing.TB, path string) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serveTCP runs a server on a loopback port that handles each connection with f and then closes it.
func serveTCP(t testing.TB, f func(c *net.TCPConn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().String()
}

func echo(c *net.TCPConn) { _, _ = io.Copy(c, c) }

func dialer(address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
}

// tokens is a Hub.Token of fixed tokens.
func tokens(m map[string]string) func(string) (string, error) {
	return func(node string) (string, error) {
		if token, ok := m[node]; ok {
			return token, nil
		}
		return "", errors.New("no such node")
	}
}

// certificates returns what a hub and its agents need of a certificate authority made for them.
func certificates(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	cert, key, err := certutil.GenerateSelfSignedCertKey("hub", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13},
		&tls.Config{RootCAs: roots, ServerName: "hub", MinVersion: tls.VersionTLS13}
}

// pair is a hub with an API server that echoes, and one agent n1.
type pair struct {
	hub    *Hub
	agent  *Agent
	socket string
	stop   func() // stops the hub
}

func newPair(t testing.TB, handler http.Handler) *pair {
	t.Helper()
	return newPairOf(t, &Agent{Handler: handler})
}

// newPairOf is newPair with more of an agent.
func newPairOf(t testing.TB, agent *Agent) *pair {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	p := &pair{socket: filepath.Join(t.TempDir(), "t.sock")}
	server, client := certificates(t)
	p.hub = &Hub{TLS: server, Token: tokens(map[string]string{"n1": "secret1", "n2": "secret2"}), LocalAPI: dialer(serveTCP(t, echo)), Logger: logger}
	p.startHub(t)
	p.agent = agent
	agent.Node, agent.Token, agent.TLS, agent.Socket, agent.Logger = "n1", "secret1", client, p.socket, logger
	background(t, p.agent.Run)
	waitConnected(t, p.hub, "n1")
	return p
}

func (p *pair) startHub(t testing.TB) {
	l := listenUnix(t, p.socket)
	p.stop = background(t, func(ctx context.Context) error { return p.hub.Serve(ctx, "n1", l) })
}

// waitConnected waits until exactly these nodes are connected.
func waitConnected(t testing.TB, h *Hub, want ...string) {
	t.Helper()
	ctx := timeout(t)
	for {
		nodes, changed := h.Watch()
		if slices.Equal(nodes, want) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("connected nodes are %v, want %v", nodes, want)
		}
	}
}

// checkEcho checks that c sends back what is written to it, and its end too. It closes c.
func checkEcho(t testing.TB, c net.Conn, text string) {
	t.Helper()
	defer c.Close()
	if _, err := io.Copy(c, strings.NewReader(text)); err != nil {
		t.Errorf("write: %v", err)
		return
	}
	if err := c.(closeWriter).CloseWrite(); err != nil {
		t.Errorf("close write: %v", err)
		return
	}
	got, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read: %v", err)
	}
	if string(got) != text {
		t.Errorf("echo of %d bytes has %d bytes or differs", len(text), len(got))
	}
}
