package tunnel

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
)

// streams is both ends of a stream.
func streams(t *testing.T) (a, b *stream) {
	t.Helper()
	left, right := net.Pipe()
	logger := loggerOr(nil)
	client, err := yamux.Client(left, yamuxConfig(logger))
	if err != nil {
		t.Fatal(err)
	}
	server, err := yamux.Server(right, yamuxConfig(logger))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	ya, err := client.OpenStream()
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

// http.Server reads with deadlines in the past to get hold of a connection: nothing may be lost by that.
func TestStreamReadDeadline(t *testing.T) {
	a, b := streams(t)
	for range 3 {
		_ = b.SetReadDeadline(time.Unix(1, 0))
		var nerr net.Error
		if _, err := b.Read(make([]byte, 1)); !errors.As(err, &nerr) || !nerr.Timeout() {
			t.Fatalf("read after the deadline: %v, want a timeout", err)
		}
		if _, err := a.y.Write([]byte{0}); err != nil { // the length of a chunk, byte by byte
			t.Fatal(err)
		}
	}
	if _, err := a.y.Write([]byte("\x02ok")); err != nil {
		t.Fatal(err)
	}
	_ = b.SetReadDeadline(time.Now().Add(testTimeout))
	got := make([]byte, 2)
	if _, err := io.ReadFull(b, got); err != nil || string(got) != "ok" {
		t.Errorf("read %q, %v", got, err)
	}
}

// Truncation must not look like an end, through both ends of the tunnel.
func TestResetIsPassedOn(t *testing.T) {
	w := newWorld(t, nil)
	target := serveTCP(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "half of")
		_, _ = c.Read(make([]byte, 1)) // until the client has seen that
		_ = c.SetLinger(0)
	})
	conn, err := w.hub.DialNode(timeout(t), "n1", "tcp", target)
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
	w := newWorld(t, nil)
	target := serveTCP(t, func(c *net.TCPConn) {
		in, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
		_, _ = io.WriteString(c, strings.ToUpper(string(in)))
	})
	conn, err := w.hub.DialNode(timeout(t), "n1", "tcp", target)
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
	w := newWorld(t, nil)
	const size = 256 << 20
	received := make(chan int64, 1)
	target := serveTCP(t, func(c *net.TCPConn) {
		n, _ := io.Copy(io.Discard, c)
		received <- n
	})
	conn, err := w.hub.DialNode(timeout(t), "n1", "tcp", target)
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
