package host

import (
	"io"
	"sync"
)

// Loading is how far the images of an archive are on their way to nodes.
type Loading struct {
	Title  string // of the archive
	Layer  int    // which of the layers that are not on the machine is read; 0 if nodes are sent the whole archive
	Layers int    // how many these are
	Bytes  int64  // that were read, uncompressed
}

// loading shows Loading. It is safe for concurrent use.
type loading struct {
	show func(Loading) // may be nil

	mu  sync.Mutex
	now Loading
}

func (l *loading) layer(n, of int) { l.update(func() { l.now.Layer, l.now.Layers = n, of }) }

func (l *loading) update(change func()) {
	if l.show == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.show(l.now)
}

// count returns a reader that counts what is read of another one.
func (l *loading) count(r io.Reader) io.Reader { return countingReader{r, l} }

type countingReader struct {
	io.Reader
	loading *loading
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.loading.update(func() { c.loading.now.Bytes += int64(n) })
	return n, err
}
