package tunnel

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-yamux/v5"
)

// closeTimeout is how long a closed stream waits for the other side to end its direction too before it is reset: a peer
// that keeps writing to it would otherwise be blocked forever once the window is full.
const closeTimeout = 10 * time.Second

// stream is a yamux stream with TCP's notion of an end: CloseWrite ends one direction, Close both, abort cuts the stream
// short, and the other side's Read tells a clean end (io.EOF) from a cut (io.ErrUnexpectedEOF).
type stream struct {
	y      *yamux.Stream
	closed atomic.Bool
}

var _ net.Conn = (*stream)(nil)

func newStream(y *yamux.Stream) *stream { return &stream{y: y} }

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.y.Read(p)
	return n, s.convert(err)
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.y.Write(p)
	return n, s.convert(err)
}

// convert turns yamux' errors into those of package net. Deadlines and io.EOF are the same there.
func (s *stream) convert(err error) error {
	switch {
	case err == nil:
		return nil
	case s.closed.Load():
		return net.ErrClosed
	case errors.Is(err, yamux.ErrStreamReset):
		return io.ErrUnexpectedEOF
	case errors.Is(err, yamux.ErrStreamClosed):
		return io.ErrClosedPipe
	}
	return err
}

// CloseWrite ends this side's direction; what the other side sends can still be read.
func (s *stream) CloseWrite() error { return s.convert(s.y.CloseWrite()) }

// Close ends both directions and wakes pending reads and writes.
func (s *stream) Close() error {
	if !s.closed.CompareAndSwap(false, true) {
		return nil
	}
	time.AfterFunc(closeTimeout, func() { _ = s.y.Reset() }) // does nothing once both sides have ended
	_ = s.y.CloseWrite()                                     // fails only if the stream has been reset already
	return s.y.SetReadDeadline(time.Unix(1, 0))
}

// abort closes without a clean end, so that the other side knows that something is missing.
func (s *stream) abort() {
	if s.closed.CompareAndSwap(false, true) {
		_ = s.y.Reset() // fails only if the session has ended, which resets the stream too
	}
}

func (s *stream) LocalAddr() net.Addr                { return s.y.LocalAddr() }
func (s *stream) RemoteAddr() net.Addr               { return s.y.RemoteAddr() }
func (s *stream) SetDeadline(t time.Time) error      { return s.y.SetDeadline(t) }
func (s *stream) SetReadDeadline(t time.Time) error  { return s.y.SetReadDeadline(t) }
func (s *stream) SetWriteDeadline(t time.Time) error { return s.y.SetWriteDeadline(t) }
