package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-yamux/v5"
)

// streams returns both ends of a stream.
func streams(t *testing.T) (a, b *stream) {
	t.Helper()
	left, right := net.Pipe()
	logger := loggerOr(nil)
	client, err := yamux.Client(left, yamuxConfig(logger), nil)
	if err != nil {
		t.Fatal(err)
	}
	server, err := yamux.Server(right, yamuxConfig(logger), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	ya, err := client.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	yb, err := server.AcceptStream()
	if err != nil {
		t.Fatal(err)
	}
	return newStream(ya), newStream(yb)
}

func TestStreamEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(s *stream)
		want error // of the other side's read; nil is a clean end
	}{
		{"close write", func(s *stream) { _ = s.CloseWrite() }, nil},
		{"close", func(s *stream) { _ = s.Close() }, nil},
		{"abort", func(s *stream) { s.abort() }, io.ErrUnexpectedEOF},
		{"death of the session", func(s *stream) { _ = s.y.Session().Close() }, io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := streams(t)
			if _, err := io.WriteString(a, "last words"); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len("last words"))
			if _, err := io.ReadFull(b, got); err != nil {
				t.Fatal(err)
			}
			tt.end(a)
			rest, err := io.ReadAll(b)
			if !errors.Is(err, tt.want) || len(rest) != 0 {
				t.Errorf("read %q, %v, want error %v", rest, err, tt.want)
			}
		})
	}
}

func TestStreamHalfClose(t *testing.T) {
	a, b := streams(t)
	if err := a.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write after CloseWrite: %v", err)
	}
	if _, err := io.ReadAll(b); err != nil {
		t.Errorf("read to the end: %v", err)
	}
	go func() { // the other direction goes on
		_, _ = io.WriteString(b, strings.Repeat("output", 100_000))
		_ = b.Close()
	}()
	got, err := io.ReadAll(a)
	if err != nil || len(got) != 600_000 {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestStreamCloseWakes(t *testing.T) {
	tests := []struct {
		name  string
		block func(s *stream) error
	}{
		{"reader", func(s *stream) error { _, err := s.Read(make([]byte, 1)); return err }},
		{"writer", func(s *stream) error { _, err := io.Copy(s, zeros{}); return err }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, _ := streams(t)
			done := make(chan error, 1)
			go func() { done <- tt.block(a) }()
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			select {
			case err := <-done:
				if !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
					t.Errorf("error is %v, want net.ErrClosed", err)
				}
			case <-time.After(testTimeout):
				t.Error("still blocked")
			}
		})
	}
}

// http.Server interrupts a pending read with a deadline in the past when a handler takes the connection over: no data may
// be lost by that.
func TestStreamReadDeadline(t *testing.T) {
	a, b := streams(t)
	for range 3 {
		_ = b.SetReadDeadline(time.Unix(1, 0))
		var nerr net.Error
		if _, err := b.Read(make([]byte, 1)); !errors.As(err, &nerr) || !nerr.Timeout() {
			t.Fatalf("read after the deadline: %v, want a timeout", err)
		}
	}
	if _, err := a.Write([]byte("ok")); err != nil {
		t.Fatal(err)
	}
	_ = b.SetReadDeadline(time.Now().Add(testTimeout))
	got := make([]byte, 2)
	if _, err := io.ReadFull(b, got); err != nil || string(got) != "ok" {
		t.Errorf("read %q, %v", got, err)
	}
}

// A peer that keeps writing to a stream that this side closed is told so, instead of being blocked by a full window.
func TestWriterToAClosedStreamIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := streams(t)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := io.Copy(a, zeros{}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("write: %v, want %v", err, io.ErrUnexpectedEOF)
		}
		if took := time.Since(began); took > closeTimeout {
			t.Errorf("released after %v, want %v at most", took, closeTimeout)
		}
	})
}

// A connection that is cut at one end of the tunnel must not look like a clean end at the other.
func TestResetIsPassedOn(t *testing.T) {
	p := newPair(t, nil)
	target := serveTCP(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "half of")
		_, _ = c.Read(make([]byte, 1)) // until the client has read it
		_ = c.SetLinger(0)
	})
	conn, err := p.hub.DialNode(timeout(t), "n1", "tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got := make([]byte, len("half of"))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("!")); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %q, %v, want %v", rest, err, io.ErrUnexpectedEOF)
	}
}

// As `kubectl exec -i` does: the input ends first, the answer depends on it.
func TestHalfCloseThroughTheTunnel(t *testing.T) {
	p := newPair(t, nil)
	target := serveTCP(t, func(c *net.TCPConn) {
		in, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
		_, _ = io.WriteString(c, strings.ToUpper(string(in)))
	})
	conn, err := p.hub.DialNode(timeout(t), "n1", "tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "input"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(closeWriter).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "INPUT" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestLargeTransfer(t *testing.T) {
	p := newPair(t, nil)
	const size = 256 << 20
	received := make(chan int64, 1)
	target := serveTCP(t, func(c *net.TCPConn) {
		n, _ := io.Copy(io.Discard, c)
		received <- n
	})
	conn, err := p.hub.DialNode(timeout(t), "n1", "tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := io.Copy(conn, io.LimitReader(zeros{}, size)); err != nil || n != size {
		t.Fatalf("wrote %d bytes, %v", n, err)
	}
	if err := conn.(closeWriter).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n := <-received; n != size {
		t.Errorf("%d bytes arrived, want %d", n, size)
	}
}
