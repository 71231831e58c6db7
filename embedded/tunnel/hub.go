package tunnel

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-yamux/v5"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
)

// ErrNotConnected is wrapped by dials to a node that has no session.
var ErrNotConnected = errors.New("node is not connected")

// ErrNoRoute is wrapped by dials to an address that no node owns.
var ErrNoRoute = errors.New("no node owns the address")

// Hub is the control plane's end: it knows the nodes that are connected and opens streams to them. The zero value accepts
// no node; fields are set before Serve is called. It is safe for concurrent use.
type Hub struct {
	// TLS has the certificate by which agents know that this is their cluster's hub.
	TLS *tls.Config
	// Token returns the token of a node; an error refuses the node.
	Token func(node string) (string, error)
	// Join returns what a node asks the API server for its first certificate with; nil refuses.
	Join func(ctx context.Context, node string) (token string, err error)
	// LocalAPI connects to the API server, for nodes and for dials to Gateway.
	LocalAPI func(ctx context.Context) (net.Conn, error)
	// Router knows which node owns an address; nil if DialAddress is not used for addresses of nodes and pods.
	Router Router
	// Gateway is the address at which nodes reach the API server.
	Gateway netip.Addr
	// Direct connects to host names and addresses that no node owns; nil refuses them with ErrNoRoute.
	Direct DialFunc
	Logger *slog.Logger // nil discards

	connected latest.Value[[]string]     // names of the nodes in sessions, in order
	handler   latest.Value[http.Handler] // see Handle

	mu       sync.Mutex
	sessions map[string]*yamux.Session
	ports    map[uint16]*func(ctx context.Context) (net.Conn, error) // see Publish
}

// Handle sets what serves requests of nodes to the host, which are refused before. A request's node is NodeOf its context.
func (h *Hub) Handle(handler http.Handler) { h.handler.Set(handler) }

type nodeKey struct{}

// NodeOf returns the node that a request to the handler of a Hub came from; empty for the context of anything else.
func NodeOf(ctx context.Context) string {
	node, _ := ctx.Value(nodeKey{}).(string)
	return node
}

// serveHost serves the requests of a node until its session ends.
func (h *Hub) serveHost(ctx context.Context, node string, conns *connListener) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler := h.handler.Load(); handler != nil {
			handler.ServeHTTP(w, r)
			return
		}
		http.Error(w, "the control plane is starting", http.StatusServiceUnavailable)
	})
	serveConns(context.WithValue(ctx, nodeKey{}, node), conns, handler, h.Logger)
}

// Serve accepts the agent of one node until ctx is done and returns ctx's error then. By the time it returns, the node's
// sessions and streams are closed and l too. Any other error is the listener's. Each node has a listener of its own, which
// no other node can reach: one that knew another's token could not use it.
func (h *Hub) Serve(ctx context.Context, node string, l net.Listener) error {
	if h.TLS == nil || h.Token == nil {
		return errors.New("the hub has no certificate or knows no nodes")
	}
	handshakes := make(chan struct{}, maxHandshakes)
	failed := func(err error) { loggerOr(h.Logger).WarnContext(ctx, "accept agent", "node", node, "error", err) }
	return cluster.Accept(ctx, l, failed, func(ctx context.Context, conn net.Conn) {
		select {
		case handshakes <- struct{}{}:
			h.serveConn(ctx, node, conn, func() { <-handshakes })
		default: // the agent will try again
			_ = conn.Close()
		}
	})
}

// serveConn serves one agent from its hello to the end of its session. It calls greeted once, after the hello.
func (h *Hub) serveConn(ctx context.Context, node string, raw net.Conn, greeted func()) {
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	logger := loggerOr(h.Logger).With("node", node)
	_ = raw.SetDeadline(time.Now().Add(handshakeTimeout))
	conn := tls.Server(raw, h.TLS)
	hi, err := h.greet(ctx, node, conn)
	greeted()
	if err != nil {
		logger.WarnContext(ctx, "agent refused", "error", err)
		return
	}
	_ = raw.SetDeadline(time.Time{})
	session, err := yamux.Server(conn, yamuxConfig(logger), nil)
	if err != nil {
		logger.ErrorContext(ctx, "start session", "error", err)
		return
	}
	defer session.Close()
	h.add(node, session)
	defer h.remove(node, session)
	logger.InfoContext(ctx, "node connected", "version", hi.Version)
	conns := newConnListener()
	defer conns.Close()
	serving := sync.OnceFunc(func() { go h.serveHost(ctx, node, conns) }) // most sessions never need it
	err = accept(ctx, session, func(ctx context.Context, y *yamux.Stream, hd header) {
		if hd.Kind == kindHost {
			serving()
			serveHTTP(ctx, y, conns)
			return
		}
		h.serveStream(ctx, node, y, hd)
	})
	logger.InfoContext(ctx, "node disconnected", "reason", err)
}

// greet proves the hub to the agent, then reads and answers the agent's hello. The connection has a deadline.
func (h *Hub) greet(ctx context.Context, node string, conn *tls.Conn) (hello, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return hello{}, fmt.Errorf("TLS: %w", err)
	}
	var hi hello
	if err := readLine(conn, &hi); err != nil {
		refuse(conn, errors.New("bad hello"))
		return hello{}, fmt.Errorf("read hello: %w", err)
	}
	if err := h.check(node, hi); err != nil {
		refuse(conn, errors.New("unknown node or wrong token")) // does not say which, so that names cannot be guessed
		return hi, err
	}
	if hi.Protocol != protocol {
		err := fmt.Errorf("the node was made by another version of kl (tunnel protocol %d, want %d): replace it with 'kl node remove' and 'kl node add'", max(hi.Protocol, 1), protocol)
		refuse(conn, err)
		return hi, err
	}
	if err := writeLine(conn, answer{OK: true}); err != nil {
		return hi, fmt.Errorf("answer hello: %w", err)
	}
	return hi, nil
}

func (h *Hub) check(node string, hi hello) error {
	if hi.Node != node {
		return fmt.Errorf("it says that it is node %.64q", hi.Node)
	}
	want, err := h.Token(node)
	if err != nil {
		return fmt.Errorf("find token: %w", err)
	}
	if want == "" {
		return errors.New("the node's token is empty")
	}
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(hi.Token)) // hashed, so that the time does not depend on the length
	if subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
		return errors.New("wrong token")
	}
	return nil
}

// add makes session the node's only session and closes the one before.
func (h *Hub) add(node string, session *yamux.Session) {
	h.mu.Lock()
	old := h.sessions[node]
	if h.sessions == nil {
		h.sessions = make(map[string]*yamux.Session)
	}
	h.sessions[node] = session
	h.notify()
	h.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
}

func (h *Hub) remove(node string, session *yamux.Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[node] == session { // else it has been replaced
		delete(h.sessions, node)
		h.notify()
	}
}

// notify tells watchers of a change; mu is held.
func (h *Hub) notify() { h.connected.Set(slices.Sorted(maps.Keys(h.sessions))) }

// Connected returns the names of the nodes that have a session, in order. The caller must not modify the slice.
func (h *Hub) Connected() []string { return h.connected.Load() }

// Watch returns what Connected does, and a channel that is closed when a session begins or ends.
func (h *Hub) Watch() ([]string, <-chan struct{}) { return h.connected.Get() }

// serveStream serves a stream that a node's agent opened.
func (h *Hub) serveStream(ctx context.Context, node string, y *yamux.Stream, hd header) {
	switch {
	case hd.Kind == kindAPI && h.LocalAPI != nil:
		dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
		conn, err := h.LocalAPI(dialCtx)
		cancel()
		pipeStream(ctx, y, conn, err)
	case hd.Kind == kindJoin && h.Join != nil:
		h.join(ctx, node, y)
	default:
		pipeStream(ctx, y, nil, fmt.Errorf("stream kind %.32q is not supported", hd.Kind))
	}
}

// join answers with a token to join with, for the node whose session it is and no other.
func (h *Hub) join(ctx context.Context, node string, y *yamux.Stream) {
	defer y.Close()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	token, err := h.Join(ctx, node)
	_ = y.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	if err != nil {
		refuse(y, err)
		return
	}
	if err := writeLine(y, answer{OK: true}); err == nil {
		_, _ = io.WriteString(y, token) // if the node has gone, the token ends unused
	}
}
