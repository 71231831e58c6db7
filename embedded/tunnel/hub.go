package tunnel

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// ErrNotConnected is wrapped by dials to a node that has no session.
var ErrNotConnected = errors.New("node is not connected")

// ErrNoRoute is wrapped by dials to an address that no node owns.
var ErrNoRoute = errors.New("no node owns the address")

// Hub is the control plane's end: it knows the nodes that are connected and opens streams to them. The zero value
// accepts no node; fields are set before Serve is called. It is safe for concurrent use.
type Hub struct {
	// Token tells the token of a node; an error refuses the node. See [FileTokens].
	Token func(node string) (string, error)
	// LocalAPI connects to the API server, for nodes and for dials to Gateway.
	LocalAPI func(ctx context.Context) (net.Conn, error)
	// Router tells which node owns an address.
	Router Router
	// Gateway is the address at which nodes find the API server.
	Gateway netip.Addr
	// Direct connects to host names and addresses that no node owns; nil means that they are refused with ErrNoRoute.
	Direct DialFunc
	Logger *slog.Logger // nil discards

	mu       sync.Mutex
	sessions map[string]*yamux.Session
	ports    map[uint16]*func(ctx context.Context) (net.Conn, error) // see Publish
	changed  chan struct{}                                           // closed and replaced whenever sessions changes; nil until somebody watches
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
		default: // the agent comes back
			_ = conn.Close()
			continue
		}
		wg.Go(func() { h.serveConn(ctx, conn, func() { <-handshakes }) })
	}
}

// serveConn is one agent from hello to the end of its session. It calls greeted once, when the hello is over.
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
	session, err := yamux.Server(conn, yamuxConfig(logger))
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

// nodeName is what a node may be called: the name becomes part of a path before its token is known.
var nodeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// greet reads and answers the hello.
func (h *Hub) greet(conn net.Conn) (hello, error) {
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	var hi hello
	if err := readLine(conn, &hi); err != nil {
		refuse(conn, errors.New("bad hello"))
		return hello{}, fmt.Errorf("read hello: %w", err)
	}
	if !nodeName.MatchString(hi.Node) {
		refuse(conn, errors.New("bad node name"))
		return hello{}, errors.New("bad node name")
	}
	if err := h.check(hi); err != nil {
		refuse(conn, errors.New("unknown node or wrong token")) // which of them is not the caller's to know
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
	a, b := sha256.Sum256([]byte(want)), sha256.Sum256([]byte(hi.Token)) // hashed, or the time would tell the length
	if subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
		return errors.New("wrong token")
	}
	return nil
}

// add makes session the node's only one.
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
func (h *Hub) notify() {
	if h.changed != nil {
		close(h.changed)
		h.changed = nil
	}
}

// Connected is the names of the nodes that have a session, in order.
func (h *Hub) Connected() []string {
	nodes, _ := h.Watch()
	return nodes
}

// Watch is Connected and a channel that is closed when that is no longer true.
func (h *Hub) Watch() ([]string, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changed == nil {
		h.changed = make(chan struct{})
	}
	nodes := make([]string, 0, len(h.sessions))
	for node := range h.sessions {
		nodes = append(nodes, node)
	}
	slices.Sort(nodes)
	return nodes, h.changed
}

// serveStream serves a stream that an agent opened.
func (h *Hub) serveStream(ctx context.Context, y *yamux.Stream, hd header) {
	if hd.Kind != kindAPI || h.LocalAPI == nil {
		join(ctx, y, nil, fmt.Errorf("kind %.32q is not served here", hd.Kind))
		return
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	conn, err := h.LocalAPI(dialCtx)
	cancel()
	join(ctx, y, conn, err)
}
