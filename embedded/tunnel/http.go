package tunnel

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/libp2p/go-yamux/v5"
)

// streamTransport sends requests through streams. Each request has one of its own, so that no idle connections have to be closed.
func streamTransport(open func(ctx context.Context) (net.Conn, error)) http.RoundTripper {
	return &http.Transport{
		DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return open(ctx) },
		DisableKeepAlives:     true,
		DisableCompression:    true,
		ExpectContinueTimeout: time.Second,
	}
}

// serveHTTP hands a stream to who serves HTTP on conns.
func serveHTTP(ctx context.Context, y *yamux.Stream, conns *connListener) {
	if err := writeLine(y, answer{OK: true}); err != nil {
		_ = y.Close()
		return
	}
	conns.serve(ctx, newStream(y))
}

// serveConns serves HTTP on conns until ctx is done.
func serveConns(ctx context.Context, conns *connListener, handler http.Handler, logger *slog.Logger) {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: handshakeTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(loggerOr(logger).Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	_ = server.Serve(conns) // returns only after Close
}
