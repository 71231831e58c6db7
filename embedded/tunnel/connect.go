package tunnel

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// DialFunc connects to an address, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// ServeConnect is an HTTP CONNECT proxy: what the API server's egress selector calls HTTPConnect. Each request is
// answered when dial has connected (200) or has not (502, with the reason in the Proxy-Status header, RFC 9209). It
// serves until ctx is done and returns ctx's error then; by that time l and all connections are closed.
func ServeConnect(ctx context.Context, l net.Listener, dial DialFunc) error {
	parent := ctx
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup // from accept to the end of the connection, hijacked or not
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if client, target := connect(w, r, dial); target != nil {
				defer conns.Done()
				Pipe(ctx, target, client)
			}
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed: // not called for a hijacked one
				conns.Done()
			}
		},
		ReadHeaderTimeout: handshakeTimeout,
		IdleTimeout:       handshakeTimeout,
		MaxHeaderBytes:    maxLine,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	defer conns.Wait()
	defer cancel()
	defer server.Close()
	err := server.Serve(l)
	if parent.Err() != nil {
		return parent.Err()
	}
	return fmt.Errorf("serve proxy: %w", err)
}

// connect answers one request. On success it returns the client's connection, taken over from the server, and the target's;
// otherwise both are nil.
func connect(w http.ResponseWriter, r *http.Request, dial DialFunc) (client, target net.Conn) {
	if r.Method != http.MethodConnect {
		w.Header().Set("Allow", http.MethodConnect)
		http.Error(w, "only CONNECT is supported", http.StatusMethodNotAllowed)
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*dialTimeout)
	defer cancel()
	target, err := dial(ctx, "tcp", r.Host)
	if err != nil {
		w.Header().Set("Proxy-Status", "kl; details="+strconv.QuoteToASCII(err.Error()))
		http.Error(w, err.Error(), http.StatusBadGateway)
		return nil, nil
	}
	client, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		abort(target)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil, nil
	}
	// The pipe notices if the client has gone by now.
	_ = client.SetDeadline(time.Now().Add(handshakeTimeout))
	_, _ = client.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	_ = client.SetDeadline(time.Time{})
	return unread(client, buf.Reader), target
}

// unread returns c with the bytes in front that the HTTP server has read beyond the request.
func unread(c net.Conn, r *bufio.Reader) net.Conn {
	if r.Buffered() == 0 {
		return c
	}
	return &bufferedConn{Conn: c, r: r}
}

type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (c *bufferedConn) CloseWrite() error {
	if half, ok := c.Conn.(closeWriter); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}
