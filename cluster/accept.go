package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	firstAcceptDelay = 5 * time.Millisecond
	maxAcceptDelay   = time.Second
)

// Accept calls serve, in a goroutine of its own, with every connection that l accepts until ctx is done or l is closed. It then
// closes l, waits for serve to return, and returns ctx's error or net.ErrClosed. serve closes the connection, at the latest when its
// context, which ends with ctx and with l, does.
//
// Every other error of l passes, as a process without a free file descriptor gets one: Accept goes on after a pause that doubles from 5 ms
// to 1 s. The first of several such errors in a row is passed to failed, which may be nil.
func Accept(ctx context.Context, l net.Listener, failed func(error), serve func(context.Context, net.Conn)) error {
	parent := ctx
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for delay := time.Duration(0); ; {
		conn, err := l.Accept()
		switch {
		case err == nil:
			delay = 0
			wg.Go(func() { serve(ctx, conn) })
			continue
		case parent.Err() != nil:
			return parent.Err()
		case errors.Is(err, net.ErrClosed):
			return net.ErrClosed
		case delay == 0 && failed != nil:
			failed(err)
		}
		delay = min(max(2*delay, firstAcceptDelay), maxAcceptDelay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
}
