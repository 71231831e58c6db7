package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/libp2p/go-yamux/v5"
)

// open opens a stream and waits for the other side's answer. It returns when ctx is done, even if the session is stuck.
func open(ctx context.Context, session *yamux.Session, h header) (net.Conn, error) {
	y, err := session.OpenStream(ctx)
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
		go func() { _ = y.Reset() }() // blocks while the peer is frozen, until the session ends at the latest
		return nil, err
	}
	return newStream(y), nil
}

// accept serves the streams that the other side opens, each in its own goroutine, until the session ends. It returns after
// the last call of serve has returned. serve is called with a stream whose header has been read and not answered yet; its
// context ends with the session.
func accept(ctx context.Context, session *yamux.Session, serve func(context.Context, *yamux.Stream, header)) error {
	ctx, cancel := context.WithCancel(ctx)
	slots := make(chan struct{}, maxStreams)
	defer func() { // all slots are free once every stream has been served
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
			_ = y.SetWriteDeadline(time.Now().Add(time.Second))
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

// pipeStream answers a stream and pipes it to a connection made for it; with err it refuses the stream instead.
func pipeStream(ctx context.Context, y *yamux.Stream, conn net.Conn, err error) {
	_ = y.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	if err != nil {
		refuse(y, err)
		_ = y.Close()
		return
	}
	if err := writeLine(y, answer{OK: true}); err != nil {
		abort(conn)
		_ = y.Reset()
		return
	}
	_ = y.SetWriteDeadline(time.Time{})
	Pipe(ctx, newStream(y), conn)
}
