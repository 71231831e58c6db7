package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/yamux"
)

// open opens a stream and waits for the other side's answer. It returns when ctx is done, however stuck the session is.
func open(ctx context.Context, session *yamux.Session, h header) (net.Conn, error) {
	y, err := openYamux(ctx, session)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = y.SetDeadline(time.Unix(1, 0)) })
	err = writeLine(y, h)
	if err == nil {
		err = readAnswer(y)
	}
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = y.Close()
		return nil, err
	}
	return newStream(y), nil
}

// openYamux is session.OpenStream with a context: that call blocks while the peer is frozen and the backlog full.
func openYamux(ctx context.Context, session *yamux.Session) (*yamux.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	type result struct {
		y   *yamux.Stream
		err error
	}
	opened := make(chan result, 1)
	go func() { // ends with the session at the latest
		y, err := session.OpenStream()
		opened <- result{y, err}
	}()
	select {
	case r := <-opened:
		return r.y, r.err
	case <-ctx.Done():
		go func() {
			if r := <-opened; r.y != nil {
				_ = r.y.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// accept serves the streams that the other side opens, each in its own goroutine, until the session ends. It returns
// after the last of them. Serve is called with a stream whose header has been read and not answered yet; its context ends
// with the session.
func accept(ctx context.Context, session *yamux.Session, serve func(context.Context, *yamux.Stream, header)) error {
	ctx, cancel := context.WithCancel(ctx)
	slots := make(chan struct{}, maxStreams)
	defer func() { // take all slots: every stream has been served
		cancel()
		for range maxStreams {
			slots <- struct{}{}
		}
	}()
	for {
		y, err := session.AcceptStream()
		if err != nil {
			return err
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = y.SetWriteDeadline(time.Now().Add(closeGrace))
			refuse(y, errors.New("too many streams"))
			_ = y.Close()
			continue
		}
		go func() {
			defer func() { <-slots }()
			_ = y.SetDeadline(time.Now().Add(handshakeTimeout))
			var h header
			if err := readLine(y, &h); err != nil {
				refuse(y, fmt.Errorf("read header: %w", err))
				_ = y.Close()
				return
			}
			_ = y.SetDeadline(time.Time{})
			serve(ctx, y, h)
		}()
	}
}

// join answers a stream and pipes it to a connection made for it; with err it refuses the stream instead.
func join(ctx context.Context, y *yamux.Stream, conn net.Conn, err error) {
	_ = y.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	if err != nil {
		refuse(y, err)
		_ = y.Close()
		return
	}
	if err := writeLine(y, answer{OK: true}); err != nil {
		abort(conn)
		_ = y.Close()
		return
	}
	_ = y.SetWriteDeadline(time.Time{})
	Pipe(ctx, newStream(y), conn)
}
