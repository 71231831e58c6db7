package tunnel

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-yamux/v5"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/klkube/kl/cluster/latest"
)

// ErrNotConnected is wrapped by dials to a node that has no session.
var ErrNotConnected = errors.New("node is not connected")

// ErrNoRoute is wrapped by dials to an address that no node owns.
var ErrNoRoute = errors.New("no node owns the address")

// Hub is the control plane's end: it knows the nodes that are connected and opens streams to them. The zero value accepts
// no node; fields are set before Serve is called. It is safe for concurrent use.
type Hub struct {
	// Token returns the token of a node; an error refuses the node. See [FileTokens].
	Token func(node string) (string, error)
	// LocalAPI connects to the API server, for nodes and for dials to Gateway.
	LocalAPI func(ctx context.Context) (net.Conn, error)
	// Router knows which node owns an address; nil if DialAddress is not used for addresses of nodes and pods.
	Router Router
	// Gateway is the address at which nodes reach the API server.
	Gateway netip.Addr
	// Direct connects to host names and addresses that no node owns; nil refuses them with ErrNoRoute.
	Direct DialFunc
	Logger *slog.Logger // nil discards

	connected latest.Value[[]string] // names of the nodes in sessions, in order

	mu       sync.Mutex
	sessions map[string]*yamux.Session
	ports    map[uint16]*func(ctx context.Context) (net.Conn, error) // see Publish
}

// FileTokens reads the token of a node from the file tunnel-token in the node's directory below nodesDir.
func FileTokens(nodesDir string) func(node string) (string, error) {
	return func(node string) (string, error) {
		token, err := os.ReadFile(filepath.Join(nodesDir, node, "tunnel-token"))
		if err != nil {
			return "", err
		}
		return strings.TrimSpace(string(token)), nil
	}
}

// Serve accepts agents until ctx is done and returns ctx's error then. By the time it returns, every session and stream
// is closed and l too. Any other error is the listener's.
func (h *Hub) Serve(ctx context.Context, l net.Listener) error {
	parent := ctx
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer l.Close()

	handshakes := make(chan struct{}, maxHandshakes)
	for {
		conn, err := l.Accept()
		if err != nil {
			if parent.Err() != nil {
				return parent.Err()
			}
			return fmt.Errorf("accept agent: %w", err)
		}
		select {
		case handshakes <- struct{}{}:
		default: // the agent will try again
			_ = conn.Close()
			continue
		}
		wg.Go(func() { h.serveConn(ctx, conn, func() { <-handshakes }) })
	}
}

// serveConn serves one agent from its hello to the end of its session. It calls greeted once, after the hello.
func (h *Hub) serveConn(ctx context.Context, conn net.Conn, greeted func()) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	hi, err := h.greet(conn)
	greeted()
	if err != nil {
		loggerOr(h.Logger).WarnContext(ctx, "agent refused", "node", hi.Node, "error", err)
		return
	}
	logger := loggerOr(h.Logger).With("node", hi.Node)
	session, err := yamux.Server(conn, yamuxConfig(logger), nil)
	if err != nil {
		logger.ErrorContext(ctx, "start session", "error", err)
		return
	}
	defer session.Close()
	h.add(hi.Node, session)
	defer h.remove(hi.Node, session)
	logger.InfoContext(ctx, "node connected", "version", hi.Version)
	err = accept(ctx, session, h.serveStream)
	logger.InfoContext(ctx, "node disconnected", "reason", err)
}

// greet reads and answers the hello.
func (h *Hub) greet(conn net.Conn) (hello, error) {
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	var hi hello
	if err := readLine(conn, &hi); err != nil {
		refuse(conn, errors.New("bad hello"))
		return hello{}, fmt.Errorf("read hello: %w", err)
	}
	if len(validation.IsDNS1123Label(hi.Node)) > 0 { // the name becomes part of a path before the token is checked
		refuse(conn, errors.New("bad node name"))
		return hello{}, errors.New("bad node name")
	}
	if err := h.check(hi); err != nil {
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
	return hi, conn.SetDeadline(time.Time{})
}

func (h *Hub) check(hi hello) error {
	if h.Token == nil {
		return errors.New("the hub knows no nodes")
	}
	want, err := h.Token(hi.Node)
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

// serveStream serves a stream that an agent opened.
func (h *Hub) serveStream(ctx context.Context, y *yamux.Stream, hd header) {
	if hd.Kind != kindAPI || h.LocalAPI == nil {
		pipeStream(ctx, y, nil, fmt.Errorf("stream kind %.32q is not supported", hd.Kind))
		return
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	conn, err := h.LocalAPI(dialCtx)
	cancel()
	pipeStream(ctx, y, conn, err)
}
