package forward

import (
	"io"
	"net"
	"sync"
)

// join copies both ways until both sides are done, passing on when one has finished speaking.
func join(a, b net.Conn) {
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			from, to := way[0], way[1]
			if _, err := io.Copy(to, from); err != nil {
				_ = a.Close()
				_ = b.Close()
				return
			}
			if half, ok := to.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			} else {
				_ = to.Close()
			}
		})
	}
	wg.Wait()
}
