package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// Back-off of an agent: the first retry after minBackoff, then twice as long each time up to maxBackoff.
const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = 500 * time.Millisecond
	longLived  = 5 * time.Second // a session that lasted this long starts the back-off anew
)

// Agent is a node's end. Fields are set before Run is called; DialAPI may be called before and while Run runs.
type Agent struct {
	Node    string
	Token   string
	Version string // told to the hub, for its log
	Socket  string // path of the hub's unix socket
	// Dial connects to the hub; nil means the unix socket.
	Dial func(ctx context.Context) (net.Conn, error)
	// Handler answers what the control plane asks the agent; nil refuses.
	Handler http.Handler
	Logger  *slog.Logger // nil discards

	mu      sync.Mutex
	session *yamux.Session
	changed chan struct{} // closed and replaced whenever session changes; nil until somebody waits
}

// Run keeps a session with the hub until ctx is done and returns ctx's error. By then all streams are closed.
func (a *Agent) Run(ctx context.Context) error {
	conns := newConnListener()
	server := &http.Server{
		Handler:           a.Handler,
		ReadHeaderTimeout: handshakeTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(loggerOr(a.Logger).Handler(), slog.LevelWarn),
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(conns) }) // ends by Close alone
	defer wg.Wait()
	defer server.Close()

	wait, last := minBackoff, ""
	for {
		began := time.Now()
		err := a.connect(ctx, conns)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) >= longLived {
			wait, last = minBackoff, ""
		}
		if err.Error() != last { // a hub that is away for an hour is one line
			last = err.Error()
			loggerOr(a.Logger).InfoContext(ctx, "no session with the control plane, trying on", "reason", err)
		}
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait = min(2*wait, maxBackoff)
	}
}

// connect makes one session and serves it until it ends.
func (a *Agent) connect(ctx context.Context, conns *connListener) error {
	conn, err := a.dial(ctx)
	if err != nil {
		return fmt.Errorf("dial hub: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := writeLine(conn, hello{Node: a.Node, Token: a.Token, Version: a.Version}); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	if err := readAnswer(conn); err != nil {
		return fmt.Errorf("say hello: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	session, err := yamux.Client(conn, yamuxConfig(loggerOr(a.Logger)))
	if err != nil {
		return fmt.Errorf("start session: %w", err)
	}
	defer session.Close()
	a.set(session)
	defer a.set(nil)
	loggerOr(a.Logger).InfoContext(ctx, "session with the control plane")
	err = accept(ctx, session, func(ctx context.Context, y *yamux.Stream, h header) { a.serveStream(ctx, y, h, conns) })
	return fmt.Errorf("session ended: %w", err)
}

func (a *Agent) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if a.Dial != nil {
		return a.Dial(ctx)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", a.Socket)
}

func (a *Agent) set(s *yamux.Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.session = s
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

func (a *Agent) current() (*yamux.Session, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	return a.session, a.changed
}

// DialAPI connects to the API server. It waits for a session, and for the next one if the one it has ends before the
// connection is made. The connection also has CloseWrite.
func (a *Agent) DialAPI(ctx context.Context) (net.Conn, error) {
	for {
		session, changed := a.current()
		if session != nil {
			conn, err := open(ctx, session, header{Kind: kindAPI})
			if err == nil {
				return conn, nil
			}
			if ctx.Err() != nil || !sessionOver(session) {
				return nil, fmt.Errorf("dial API server: %w", err)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("dial API server: wait for a session: %w", context.Cause(ctx))
		}
	}
}

// serveStream serves a stream that the hub opened.
func (a *Agent) serveStream(ctx context.Context, y *yamux.Stream, h header, conns *connListener) {
	switch {
	case h.Kind == kindDial:
		conn, err := dialTarget(ctx, h)
		join(ctx, y, conn, err)
	case h.Kind == kindAgent && a.Handler != nil:
		if err := writeLine(y, answer{OK: true}); err != nil {
			_ = y.Close()
			return
		}
		conns.serve(ctx, newStream(y))
	default:
		join(ctx, y, nil, fmt.Errorf("kind %.32q is not served here", h.Kind))
	}
}

func dialTarget(ctx context.Context, h header) (net.Conn, error) {
	if h.Network != "tcp" && h.Network != "tcp4" && h.Network != "tcp6" {
		return nil, fmt.Errorf("network %.32q is not served here", h.Network)
	}
	if _, err := netip.ParseAddrPort(h.Address); err != nil { // names would be the node's to resolve, not the hub's
		return nil, errors.New("the address is not an IP and a port")
	}
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, h.Network, h.Address)
}
