package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-yamux/v5"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster/latest"
)

// Back-off of an agent: the first retry comes within minBackoff, then the pause doubles each time up to maxBackoff.
const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = 500 * time.Millisecond
	longLived  = 5 * time.Second // a session that lasted this long resets the back-off
)

// Agent is a node's end. Fields are set before Run is called; DialAPI and Join may be called before and while Run runs.
type Agent struct {
	Node    string
	Token   string
	TLS     *tls.Config // has the authority and the name of the hub's certificate: nothing is told to another
	Version string      // of kl, for the hub's log
	Socket  string      // path of the hub's unix socket for this node
	// Dial connects to the hub; nil means the unix socket.
	Dial func(ctx context.Context) (net.Conn, error)
	// Handler serves the control plane's requests to the agent; nil refuses them.
	Handler http.Handler
	// Admit decides about each connection that the control plane asks for: it returns what is called at the connection's end, or why
	// there is none. Nil admits all.
	Admit  func(target netip.AddrPort) (release func(), err error)
	Logger *slog.Logger // nil discards

	session latest.Value[*yamux.Session] // nil while there is none
}

// Run keeps a session with the hub until ctx is done and returns ctx's error. By then all streams are closed.
func (a *Agent) Run(ctx context.Context) error {
	if a.TLS == nil {
		return errors.New("the agent knows no authority for the hub's certificate")
	}
	conns := newConnListener()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { serveConns(ctx, conns, a.Handler, a.Logger) })

	pauses, last := reconnectBackoff(), ""
	for {
		began := time.Now()
		err := a.connect(ctx, conns)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) >= longLived {
			pauses, last = reconnectBackoff(), ""
		}
		if err.Error() != last { // a hub that is down for an hour is logged once
			last = err.Error()
			loggerOr(a.Logger).InfoContext(ctx, "no session with the control plane, retrying", "reason", err)
		}
		select {
		case <-time.After(pauses.Step()):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reconnectBackoff is the pauses between connections; jitter makes each up to twice as long.
func reconnectBackoff() wait.Backoff {
	return wait.Backoff{Duration: minBackoff / 2, Factor: 2, Jitter: 1, Cap: maxBackoff / 2, Steps: math.MaxInt}
}

// connect opens one session and serves it until it ends.
func (a *Agent) connect(ctx context.Context, conns *connListener) error {
	raw, err := a.dial(ctx)
	if err != nil {
		return fmt.Errorf("dial hub: %w", err)
	}
	defer raw.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	_ = raw.SetDeadline(time.Now().Add(handshakeTimeout))
	conn := tls.Client(raw, a.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("check that the hub is this cluster's: %w", err)
	}
	if err := writeLine(conn, hello{Node: a.Node, Token: a.Token, Version: a.Version, Protocol: protocol}); err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	if err := readAnswer(conn); err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	_ = raw.SetDeadline(time.Time{})
	session, err := yamux.Client(conn, yamuxConfig(loggerOr(a.Logger)), nil)
	if err != nil {
		return fmt.Errorf("start session: %w", err)
	}
	defer session.Close()
	a.session.Set(session)
	defer a.session.Set(nil)
	loggerOr(a.Logger).InfoContext(ctx, "session with the control plane established")
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

// DialAPI connects to the API server. It waits for a session, and for the next one if the current one ends before the
// connection is made. The connection has a CloseWrite method.
func (a *Agent) DialAPI(ctx context.Context) (net.Conn, error) {
	conn, err := a.open(ctx, header{Kind: kindAPI})
	if err != nil {
		return nil, fmt.Errorf("dial API server: %w", err)
	}
	return conn, nil
}

// HostTransport sends requests to the HTTP handler of the hub; the host of a URL is ignored. The error wraps ErrNotConnected at once if
// there is no session.
func (a *Agent) HostTransport() http.RoundTripper {
	return streamTransport(func(ctx context.Context) (net.Conn, error) {
		session := a.session.Load()
		if session == nil {
			return nil, fmt.Errorf("dial control plane: %w", ErrNotConnected)
		}
		conn, err := open(ctx, session, header{Kind: kindHost})
		if err != nil {
			return nil, fmt.Errorf("dial control plane: %w", err)
		}
		return conn, nil
	})
}

// Join asks for a token to join the cluster with. It waits for a session, and until the control plane lets nodes in.
func (a *Agent) Join(ctx context.Context) (token string, err error) {
	conn, err := a.open(ctx, header{Kind: kindJoin})
	if err != nil {
		return "", fmt.Errorf("ask for a token: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	data, err := io.ReadAll(io.LimitReader(conn, maxLine))
	if err != nil {
		return "", fmt.Errorf("ask for a token: %w", err)
	}
	return string(data), nil
}

// open opens a stream of the present session or, if it ends before that, of the next.
func (a *Agent) open(ctx context.Context, h header) (net.Conn, error) {
	for {
		session, changed := a.session.Get()
		if session != nil {
			conn, err := open(ctx, session, h)
			if err == nil {
				return conn, nil
			}
			if ctx.Err() != nil || !session.IsClosed() {
				return nil, err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a session: %w", context.Cause(ctx))
		}
	}
}

// serveStream serves a stream that the hub opened.
func (a *Agent) serveStream(ctx context.Context, y *yamux.Stream, h header, conns *connListener) {
	switch {
	case h.Kind == kindDial:
		a.serveDial(ctx, y, h)
	case h.Kind == kindAgent && a.Handler != nil:
		serveHTTP(ctx, y, conns)
	default:
		pipeStream(ctx, y, nil, fmt.Errorf("stream kind %.32q is not supported", h.Kind))
	}
}

// serveDial pipes a stream to a TCP address.
func (a *Agent) serveDial(ctx context.Context, y *yamux.Stream, h header) {
	target, err := dialTarget(h)
	if err == nil && a.Admit != nil {
		var release func()
		if release, err = a.Admit(target); err == nil {
			defer release()
		}
	}
	var conn net.Conn
	if err == nil {
		d := net.Dialer{Timeout: dialTimeout}
		conn, err = d.DialContext(ctx, h.Network, h.Address)
	}
	pipeStream(ctx, y, conn, err)
}

func dialTarget(h header) (netip.AddrPort, error) {
	if h.Network != "tcp" && h.Network != "tcp4" && h.Network != "tcp6" {
		return netip.AddrPort{}, fmt.Errorf("network %.32q is not supported", h.Network)
	}
	target, err := netip.ParseAddrPort(h.Address)
	if err != nil { // a name might mean something else on the node than in the control plane
		return netip.AddrPort{}, errors.New("the address is not an IP and a port")
	}
	return netip.AddrPortFrom(target.Addr().Unmap(), target.Port()), nil
}
