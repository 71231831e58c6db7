package tunnel

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// chunkSize bounds a chunk that is written; chunks that are read may have any length.
const chunkSize = 16 << 10

// closeGrace is how long Close waits to tell the other side of a clean end when it does not read.
const closeGrace = time.Second

// stream is a yamux stream with TCP's notion of an end: CloseWrite ends one direction, Close both, abort cuts it short,
// and the other side's Read tells a clean end (io.EOF) from a cut (io.ErrUnexpectedEOF). It is made after the header
// and its answer have passed.
type stream struct {
	y *yamux.Stream

	readMu   sync.Mutex
	lenBuf   [4]byte
	lenRead  int    // bytes of lenBuf that have arrived: a deadline may pass between them
	left     uint32 // bytes of the current chunk not read yet
	readDone bool   // the other side ended its direction

	writeMu  sync.Mutex
	writeErr error // set once: a chunk written in part spoils the direction

	closed atomic.Bool
}

var _ net.Conn = (*stream)(nil)

func newStream(y *yamux.Stream) *stream { return &stream{y: y} }

func (s *stream) Read(p []byte) (int, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.nextChunk(); err != nil {
		return 0, err
	}
	n, err := s.y.Read(p[:min(len(p), int(s.left))])
	s.left -= uint32(n)
	return n, s.readError(err)
}

// nextChunk makes sure that there is a chunk with bytes left.
func (s *stream) nextChunk() error {
	for s.left == 0 {
		if s.readDone {
			return io.EOF
		}
		n, err := s.y.Read(s.lenBuf[s.lenRead:])
		s.lenRead += n
		if s.lenRead == len(s.lenBuf) {
			s.lenRead = 0
			s.left = binary.BigEndian.Uint32(s.lenBuf[:])
			s.readDone = s.left == 0
			continue
		}
		if err != nil {
			return s.readError(err)
		}
	}
	return nil
}

func (s *stream) readError(err error) error {
	switch {
	case err == nil:
		return nil
	case s.closed.Load():
		return net.ErrClosed
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}

func (s *stream) Write(p []byte) (int, error) {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if s.writeErr != nil {
		return 0, s.writeErr
	}
	buf := make([]byte, 4+min(len(p), chunkSize))
	written := 0
	for len(p) > 0 {
		n := copy(buf[4:], p)
		if err := s.writeChunk(buf[:4+n]); err != nil {
			return written, err
		}
		written += n
		p = p[n:]
	}
	return written, nil
}

// ReadFrom makes a copy into the stream need one buffer only.
func (s *stream) ReadFrom(r io.Reader) (int64, error) {
	buf := make([]byte, 4+chunkSize)
	var total int64
	for {
		n, err := r.Read(buf[4:])
		if n > 0 {
			if err := s.lockedChunk(buf[:4+n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func (s *stream) lockedChunk(chunk []byte) error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if s.writeErr != nil {
		return s.writeErr
	}
	return s.writeChunk(chunk)
}

// writeChunk fills in the length and writes; writeMu is held.
func (s *stream) writeChunk(chunk []byte) error {
	binary.BigEndian.PutUint32(chunk, uint32(len(chunk)-4))
	_, err := s.y.Write(chunk)
	if err != nil && s.closed.Load() {
		err = net.ErrClosed
	}
	s.writeErr = err
	return err
}

// CloseWrite ends this side's direction; what the other side sends can still be read.
func (s *stream) CloseWrite() error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	return s.end()
}

func (s *stream) end() error {
	if s.writeErr != nil {
		return nil // ended or broken already
	}
	if err := s.writeChunk(make([]byte, 4)); err != nil {
		return err
	}
	s.writeErr = io.ErrClosedPipe
	return nil
}

// Close ends both directions and wakes pending reads and writes. It waits closeGrace at most for a peer that does not
// read; one that is blocked in Write is cut off.
func (s *stream) Close() error {
	if !s.closed.CompareAndSwap(false, true) {
		return nil
	}
	if s.writeMu.TryLock() {
		_ = s.y.SetWriteDeadline(time.Now().Add(closeGrace))
		_ = s.end()
		s.writeMu.Unlock()
	}
	return s.release()
}

// abort closes without a clean end, so that the other side knows that something is missing.
func (s *stream) abort() {
	if s.closed.CompareAndSwap(false, true) {
		_ = s.release()
	}
}

func (s *stream) release() error {
	err := s.y.Close() // wakes writers
	_ = s.y.SetReadDeadline(time.Unix(1, 0))
	return err
}

func (s *stream) LocalAddr() net.Addr                { return s.y.LocalAddr() }
func (s *stream) RemoteAddr() net.Addr               { return s.y.RemoteAddr() }
func (s *stream) SetDeadline(t time.Time) error      { return s.y.SetDeadline(t) }
func (s *stream) SetReadDeadline(t time.Time) error  { return s.y.SetReadDeadline(t) }
func (s *stream) SetWriteDeadline(t time.Time) error { return s.y.SetWriteDeadline(t) }
