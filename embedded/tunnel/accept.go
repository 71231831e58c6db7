package tunnel

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// The pause after a connection could not be accepted doubles from minPause to maxPause.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// Accept is l.Accept, but waits and tries again while the process or the machine has no more files or memory: connections
// end sooner or later, and whoever accepts them must be there then. It returns ctx's error once ctx is done.
func Accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		conn, err := l.Accept()
		if err == nil || !exhausted(err) {
			return conn, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// exhausted reports whether accept failed for a reason that passes.
func exhausted(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
