package tunnel

import (
	"io"
	"net"
	"testing"
)

// BenchmarkThroughput sends 64 MiB to a TCP address of the node, over one stream.
func BenchmarkThroughput(b *testing.B) {
	p := newPair(b, nil)
	const size = 64 << 20
	received := make(chan int64, 1)
	target := serveTCP(b, func(c *net.TCPConn) {
		n, _ := io.Copy(io.Discard, c)
		received <- n
	})
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		conn, err := p.hub.DialNode(b.Context(), "n1", "tcp", target)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(conn, io.LimitReader(zeros{}, size)); err != nil {
			b.Fatal(err)
		}
		if err := conn.(closeWriter).CloseWrite(); err != nil {
			b.Fatal(err)
		}
		if n := <-received; n != size {
			b.Fatalf("%d bytes arrived, want %d", n, size)
		}
		_ = conn.Close()
	}
}

// BenchmarkDial opens a stream to a TCP address of the node for five bytes and their echo.
func BenchmarkDial(b *testing.B) {
	p := newPair(b, nil)
	target := serveTCP(b, echo)
	b.ReportAllocs()
	for b.Loop() {
		conn, err := p.hub.DialNode(b.Context(), "n1", "tcp", target)
		if err != nil {
			b.Fatal(err)
		}
		checkEcho(b, conn, "hello")
	}
}
