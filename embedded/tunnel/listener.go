package tunnel

import (
	"context"
	"net"
	"sync"
)

// connListener is a net.Listener whose connections are handed to it by serve.
type connListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

var _ net.Listener = (*connListener)(nil)

func newConnListener() *connListener {
	return &connListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// serve hands c to the caller of Accept and returns when c has been closed, by the server or because ctx ended.
func (l *connListener) serve(ctx context.Context, c net.Conn) {
	done := make(chan struct{})
	watched := &watchedConn{Conn: c, done: done}
	defer watched.Close()
	select {
	case l.conns <- watched:
	case <-l.closed:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (l *connListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *connListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *connListener) Addr() net.Addr { return &net.UnixAddr{Name: "tunnel", Net: "unix"} }

// watchedConn closes done when it is closed.
type watchedConn struct {
	net.Conn
	once sync.Once
	done chan struct{}
}

func (c *watchedConn) Close() error {
	defer c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

// CloseWrite is for handlers that take the connection over.
func (c *watchedConn) CloseWrite() error {
	if half, ok := c.Conn.(closeWriter); ok {
		return half.CloseWrite()
	}
	return nil
}
