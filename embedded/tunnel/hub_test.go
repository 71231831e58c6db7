package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDialNode(t *testing.T) {
	p := newPair(t, nil)
	target := serveTCP(t, echo)
	free := func() string { // an address without a listener
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}()
	tests := []struct {
		name, node, network, address string
		wantErr                      error
		wantText                     string
	}{
		{name: "connects", node: "n1", network: "tcp", address: target},
		{name: "unknown node", node: "n9", network: "tcp", address: target, wantErr: ErrNotConnected},
		{name: "node without a session", node: "n2", network: "tcp", address: target, wantErr: ErrNotConnected},
		{name: "no listener", node: "n1", network: "tcp", address: free, wantText: "connection refused"},
		{name: "other network", node: "n1", network: "unix", address: "/run/containerd.sock", wantText: "network"},
		{name: "host name", node: "n1", network: "tcp", address: "localhost:80", wantText: "not an IP"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := p.hub.DialNode(timeout(t), tt.node, tt.network, tt.address)
			switch {
			case tt.wantErr != nil:
				if !errors.Is(err, tt.wantErr) {
					t.Errorf("error is %v, want %v", err, tt.wantErr)
				}
			case tt.wantText != "":
				var refused *RefusedError
				if !errors.As(err, &refused) || !strings.Contains(refused.Reason, tt.wantText) {
					t.Errorf("error is %v, want a refusal with %q", err, tt.wantText)
				}
			case err != nil:
				t.Error(err)
			default:
				checkEcho(t, conn, "hello")
			}
		})
	}
}

func TestManyStreamsAtOnce(t *testing.T) {
	p := newPair(t, nil)
	target := serveTCP(t, echo)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			text := strings.Repeat(fmt.Sprintf("stream %d;", i), 10_000)
			conn, err := p.hub.DialNode(timeout(t), "n1", "tcp", target)
			if err != nil {
				t.Error(err)
				return
			}
			checkEcho(t, conn, text)
		})
		wg.Go(func() {
			conn, err := p.agent.DialAPI(timeout(t))
			if err != nil {
				t.Error(err)
				return
			}
			checkEcho(t, conn, fmt.Sprint("api ", i))
		})
	}
	wg.Wait()
}

// A reader that does not read must neither hold up others nor make the sender's data pile up in memory.
func TestBackPressure(t *testing.T) {
	p := newPair(t, nil)
	written := make(chan int64, 1)
	const size = 64 << 20
	target := serveTCP(t, func(c *net.TCPConn) {
		n, _ := io.Copy(c, io.LimitReader(zeros{}, size))
		written <- n
	})
	stuck, err := p.hub.DialNode(timeout(t), "n1", "tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	other, err := p.hub.DialNode(timeout(t), "n1", "tcp", serveTCP(t, echo))
	if err != nil {
		t.Fatal(err)
	}
	checkEcho(t, other, strings.Repeat("flows", 1<<20))
	select {
	case n := <-written:
		t.Fatalf("the sender could write all %d bytes before any was read", n)
	default:
	}
	n, err := io.Copy(io.Discard, stuck)
	if err != nil || n != size {
		t.Errorf("read %d bytes with error %v, want %d", n, err, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestDialAddress(t *testing.T) {
	named := func(name string) func(context.Context) (net.Conn, error) {
		return func(context.Context) (net.Conn, error) { return nil, errors.New(name) }
	}
	routes := new(Routes)
	routes.Set("n1", netip.MustParsePrefix("10.244.1.0/24"))
	loopback := serveTCP(t, echo)
	direct := func(ctx context.Context, _, _ string) (net.Conn, error) { return named("direct")(ctx) }
	tests := []struct {
		name, address string
		direct        DialFunc
		want          string
	}{
		{name: "gateway", address: "10.245.0.1:6443", want: "api"},
		{name: "gateway mapped into IPv6", address: "[::ffff:10.245.0.1]:6443", want: "api"},
		{name: "gateway, published port", address: "10.245.0.1:4443", want: "metrics"},
		{name: "gateway, withdrawn port", address: "10.245.0.1:4444", want: "api"},
		{name: "gateway, port taken over", address: "10.245.0.1:4445", want: "second"},
		{name: "published port elsewhere", address: "10.9.9.9:4443", want: "dial 10.9.9.9:4443: no node owns the address"},
		{name: "pod", address: "10.244.1.7:80", want: "dial 10.244.1.7:80 on node n1: node is not connected"},
		{name: "unowned address", address: "10.9.9.9:80", want: "dial 10.9.9.9:80: no node owns the address"},
		{name: "unowned address, directly", address: "10.9.9.9:80", direct: direct, want: "direct"},
		{name: "host name, directly", address: "example.test:443", direct: direct, want: "direct"},
		{name: "no port", address: "10.9.9.9", direct: direct, want: "dial 10.9.9.9: address 10.9.9.9: missing port in address"},
		{name: "loopback", address: loopback, direct: direct, want: "connected"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			hub := &Hub{LocalAPI: named("api"), Router: routes, Gateway: netip.MustParseAddr("10.245.0.1"), Direct: tt.direct}
			hub.Publish(4443, named("metrics"))
			hub.Publish(4444, named("gone"))()
			withdraw := hub.Publish(4445, named("first"))
			hub.Publish(4445, named("second"))
			withdraw() // no longer theirs
			got := "connected"
			conn, err := hub.DialAddress(timeout(t), "tcp", tt.address)
			if err != nil {
				got = err.Error()
			} else {
				checkEcho(t, conn, "loop")
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRefusedHello(t *testing.T) {
	server, client := certificates(t)
	hub := &Hub{TLS: server, Token: tokens(map[string]string{"n1": "secret", "n2": "other", "empty": ""})}
	serve := func(node string) (socket string) {
		socket = filepath.Join(t.TempDir(), "t.sock")
		l := listenUnix(t, socket)
		background(t, func(ctx context.Context) error { return hub.Serve(ctx, node, l) })
		return socket
	}
	n1, empty, unknown := serve("n1"), serve("empty"), serve("n7")
	const refused = `{"error":"unknown node or wrong token"}` + "\n"
	tests := []struct{ name, socket, hello, want string }{
		{"right", n1, `{"node":"n1","token":"secret","protocol":3}` + "\n", `{"ok":true}` + "\n"},
		{"another version", n1, `{"node":"n1","token":"secret","protocol":4}` + "\n", `{"error":"the node was made by another version of kl (tunnel protocol 4, want 3)`},
		{"another version and wrong token", n1, `{"node":"n1","token":"guess","protocol":4}` + "\n", refused},
		{"wrong token", n1, `{"node":"n1","token":"secreT"}` + "\n", refused},
		{"no token", n1, `{"node":"n1"}` + "\n", refused},
		{"another node, with its token", n1, `{"node":"n2","token":"other","protocol":3}` + "\n", refused},
		{"empty token", empty, `{"node":"empty","token":""}` + "\n", refused},
		{"unknown node", unknown, `{"node":"n7","token":"secret"}` + "\n", refused},
		{"not JSON", n1, "GET / HTTP/1.1\r\n\r\n", `{"error":"bad hello"}` + "\n"},
		{"too long", n1, strings.Repeat("a", maxLine+1), `{"error":"bad hello"}` + "\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := (&tls.Dialer{Config: client}).DialContext(timeout(t), "unix", tt.socket)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, tt.hello); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(tt.want))
			if _, err := io.ReadFull(conn, got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, string(got)); d != "" {
				t.Error(d)
			}
		})
	}
}

// An agent tells its token to no hub but its cluster's: not to one of another authority, and not to one without TLS.
func TestAgentChecksTheHub(t *testing.T) {
	_, client := certificates(t)
	foreign, _ := certificates(t)
	for name, hub := range map[string]func(net.Conn) net.Conn{
		"another authority": func(c net.Conn) net.Conn { return tls.Server(c, foreign) },
		"no TLS":            func(c net.Conn) net.Conn { return c },
	} {
		t.Run(name, func(t *testing.T) {
			told := make(chan string, 1)
			agent := &Agent{Node: "n1", Token: "secret", TLS: client}
			agent.Dial = func(context.Context) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() {
					conn := hub(ours)
					_ = conn.SetDeadline(time.Now().Add(time.Second))
					text, _ := io.ReadAll(conn)
					_ = ours.Close()
					told <- string(text)
				}()
				return theirs, nil
			}
			ctx, cancel := context.WithCancel(timeout(t))
			defer cancel()
			if err := agent.connect(ctx, nil); err == nil || !strings.Contains(err.Error(), "this cluster's") {
				t.Errorf("connect: %v, want that the hub is not this cluster's", err)
			}
			if text := <-told; strings.Contains(text, "secret") {
				t.Errorf("the hub was told %q", text)
			}
		})
	}
}

// A node gets its own token to join with, once the control plane has one for it.
func TestJoin(t *testing.T) {
	p := newPair(t, nil)
	if token, err := p.agent.Join(timeout(t)); err == nil {
		t.Errorf("Join() = %q where the hub has none", token)
	}
	p.stop()
	p.hub.Join = func(_ context.Context, node string) (string, error) { return "token of " + node, nil }
	p.startHub(t)
	if token, err := p.agent.Join(timeout(t)); err != nil || token != "token of n1" {
		t.Errorf("Join() = %q, %v", token, err)
	}
}

// A peer that sends nothing must not occupy a handshake slot forever.
func TestSilentHelloTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, _ := certificates(t)
		hub := &Hub{TLS: server, Token: tokens(nil)}
		l := newConnListener()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- hub.Serve(ctx, "n1", l) }()
		ours, theirs := net.Pipe()
		l.conns <- theirs
		began := time.Now()
		if _, err := io.ReadAll(ours); err != nil {
			t.Errorf("read until the hub closes: %v", err)
		}
		if took := time.Since(began); took < handshakeTimeout || took > 2*handshakeTimeout {
			t.Errorf("the hub closed after %v, want %v", took, handshakeTimeout)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve returned %v", err)
		}
	})
}

func TestSecondSessionReplacesFirst(t *testing.T) {
	p := newPair(t, nil)
	conn, err := p.hub.DialNode(timeout(t), "n1", "tcp", serveTCP(t, echo))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	// A session by hand: a second Agent and the first would keep replacing each other.
	raw, theirs := net.Pipe()
	second := tls.Client(raw, p.agent.TLS)
	defer raw.Close()
	ctx, cancel := context.WithCancel(timeout(t))
	var wg sync.WaitGroup
	wg.Go(func() { p.hub.serveConn(ctx, "n1", theirs, func() {}) })
	defer wg.Wait()
	defer cancel()
	if err := writeLine(second, hello{Node: "n1", Token: "secret1", Protocol: protocol}); err != nil {
		t.Fatal(err)
	}
	if err := readAnswer(second); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read from a stream of the replaced session: %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestHubRestart(t *testing.T) {
	p := newPair(t, nil)
	conn, err := p.agent.DialAPI(timeout(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p.stop()
	if _, err := io.ReadAll(conn); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read after the hub's death: %v, want %v", err, io.ErrUnexpectedEOF)
	}
	waitConnected(t, p.hub)
	if _, err := p.hub.DialNode(timeout(t), "n1", "tcp", "127.0.0.1:1"); !errors.Is(err, ErrNotConnected) {
		t.Errorf("dial without a session: %v", err)
	}

	dialed := make(chan net.Conn, 1)
	go func() { // waits for the session
		conn, err := p.agent.DialAPI(timeout(t))
		if err != nil {
			t.Error(err)
		}
		dialed <- conn
	}()
	p.startHub(t)
	waitConnected(t, p.hub, "n1")
	if conn := <-dialed; conn != nil {
		checkEcho(t, conn, "again")
	}
}
