package tunnel

import (
	"context"
	"io"
	"net"
	"sync"
)

type closeWriter interface{ CloseWrite() error }

type aborter interface{ abort() }

// Pipe copies between a and b until both directions have ended, one has failed or ctx is done, and closes both. The end of
// one direction is passed on and leaves the other open: `kubectl exec` reads output long after its input ended.
func Pipe(ctx context.Context, a, b net.Conn) {
	cut := sync.OnceFunc(func() {
		abort(a)
		abort(b)
	})
	stop := context.AfterFunc(ctx, cut)
	defer stop()
	var wg sync.WaitGroup
	for _, d := range []struct{ dst, src net.Conn }{{a, b}, {b, a}} {
		wg.Go(func() {
			if err := copyHalf(d.dst, d.src); err != nil {
				cut()
			}
		})
	}
	wg.Wait()
	_ = a.Close()
	_ = b.Close()
}

// copyBuffer is the size of the buffer of one direction; there may be thousands.
const copyBuffer = 16 << 10

// copyHalf copies until src ends and passes the end on.
func copyHalf(dst, src net.Conn) error {
	var err error
	_, fromTCP := src.(*net.TCPConn)
	if to, ok := dst.(*net.TCPConn); ok && fromTCP {
		_, err = to.ReadFrom(src) // splice(2), where the kernel has it
	} else {
		// Struct wrappers hide ReadFrom and WriteTo, which would allocate a larger buffer.
		_, err = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, copyBuffer))
	}
	if err != nil {
		return err
	}
	if half, ok := dst.(closeWriter); ok {
		return half.CloseWrite()
	}
	return dst.Close()
}

// abort closes so that the other end of c sees a reset, where the transport has one.
func abort(c net.Conn) {
	switch c := c.(type) {
	case aborter:
		c.abort()
		return
	case *net.TCPConn:
		_ = c.SetLinger(0)
	}
	_ = c.Close()
}
