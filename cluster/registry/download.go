package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/klkube/kl/cluster/statefile"
)

const (
	maxDownloads = 4                // at once, of a process
	stallTimeout = 30 * time.Second // without a byte
	maxCuts      = 3                // connections in a row that bring nothing
)

// downloads are those of a process, by digest, so that a blob that two nodes wait for is downloaded once. The zero value has none.
type downloads struct {
	mu      sync.Mutex
	running map[digest.Digest]*download
	stop    []context.CancelFunc
	closed  bool
	wg      sync.WaitGroup
	slots   chan struct{}
}

// download is one of a blob.
type download struct {
	done chan struct{} // closed when it has ended
	err  error         // valid then
}

// start starts a download, unless the blob is being downloaded. It goes on when ctx ends: others may wait for it.
func (ds *downloads) start(ctx context.Context, d digest.Digest, run func(context.Context) error) *download {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if have, ok := ds.running[d]; ok {
		return have
	}
	if ds.running == nil {
		ds.running, ds.slots = map[digest.Digest]*download{}, make(chan struct{}, maxDownloads)
	}
	one := &download{done: make(chan struct{})}
	if ds.closed {
		one.err = errors.New("kl is stopping")
		close(one.done)
		return one
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ds.running[d] = one
	ds.stop = append(ds.stop, cancel)
	ds.wg.Go(func() {
		defer cancel()
		select {
		case ds.slots <- struct{}{}:
			one.err = run(ctx)
			<-ds.slots
		case <-ctx.Done():
			one.err = context.Cause(ctx)
		}
		ds.mu.Lock()
		delete(ds.running, d)
		if len(ds.running) == 0 {
			ds.stop = nil
		}
		ds.mu.Unlock()
		close(one.done)
	})
	return one
}

// close ends all downloads and waits for them.
func (ds *downloads) close() {
	ds.mu.Lock()
	ds.closed = true
	for _, stop := range ds.stop {
		stop()
	}
	ds.mu.Unlock()
	ds.wg.Wait()
}

// download gets a layer from whichever endpoint has it.
func (p *pull) download(ctx context.Context, l ocispec.Descriptor) error {
	if err := l.Digest.Validate(); err != nil {
		return fmt.Errorf("layer %.100q: %w", l.Digest, err)
	}
	if err := statefile.MkdirAll(p.store.path("partial"), 0o700); err != nil {
		return err
	}
	lock, err := statefile.WaitLock(ctx, p.store.path("partial", l.Digest.String()), nil) // another process may be downloading it
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if p.store.has(l.Digest) {
		lock.Remove()
		return nil
	}
	if err := p.try(ctx, func(c *client) error { return c.blob(ctx, lock.File(), l) }); err != nil {
		if full(err) {
			lock.Remove()
		}
		return err
	}
	return p.store.keep(lock, l.Digest)
}

// blob completes a file with a layer, over as many connections as that takes, and checks it.
func (c *client) blob(ctx context.Context, f *os.File, l ocispec.Descriptor) error {
	for cuts := 0; ; {
		before, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			return err
		}
		if l.Size == 0 || before < l.Size {
			err = c.append(ctx, f, before, l)
		}
		if err == nil {
			if err = check(f, l.Digest); err == nil || before == 0 {
				return err
			}
			continue // what was there before is damaged, or another blob's; check has emptied the file
		}
		after, seekErr := f.Seek(0, io.SeekEnd)
		if seekErr != nil {
			return seekErr
		}
		if cuts++; after > before {
			cuts = 0
		}
		var broken *brokenOff
		if !errors.As(err, &broken) || cuts == maxCuts || ctx.Err() != nil {
			return err
		}
	}
}

// check compares a file with its digest, and empties it if it is something else.
func check(f *os.File, want digest.Digest) error {
	got, err := sum(f, want.Algorithm())
	if err == nil && got != want {
		err = errors.Join(&mismatch{want, got}, f.Truncate(0))
	}
	return err
}

// brokenOff is the error of a connection that ended, or stood still, in the middle of a blob.
type brokenOff struct{ err error }

func (b *brokenOff) Error() string { return "the connection broke off: " + b.err.Error() }
func (b *brokenOff) Unwrap() error { return b.err }

// append writes what a registry sends of a blob behind what is there, or over it if the registry begins from the start.
func (c *client) append(ctx context.Context, f *os.File, have int64, l ocispec.Descriptor) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := time.AfterFunc(stallTimeout, func() { cancel(fmt.Errorf("nothing came for %s", stallTimeout)) })
	defer stalled.Stop()
	span := ""
	if have > 0 {
		span = fmt.Sprintf("bytes=%d-", have)
	}
	answer, err := c.do(ctx, http.MethodGet, "blobs", l.Digest.String(), span)
	if have > 0 && (failure{c, err}).status() == http.StatusRequestedRangeNotSatisfiable { // some send no parts
		answer, err = c.do(ctx, http.MethodGet, "blobs", l.Digest.String(), "")
	}
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK && have > 0 {
		if err := f.Truncate(0); err != nil {
			return err
		}
		have = 0
	}
	if _, err := f.Seek(have, io.SeekStart); err != nil {
		return err
	}
	body := &moving{Reader: answer.Body, moved: func() { stalled.Reset(stallTimeout) }}
	var limited io.Reader = body
	if l.Size > 0 {
		limited = io.LimitReader(body, l.Size-have+1) // one that is too long is a mismatch
	}
	_, err = io.Copy(f, limited)
	switch {
	case err != nil && body.failed && context.Cause(ctx) != nil:
		return &brokenOff{context.Cause(ctx)}
	case err != nil && body.failed:
		return &brokenOff{err}
	}
	return err
}

// moving is the body of an answer.
type moving struct {
	io.Reader
	moved  func() // called when something came
	failed bool   // an error was the connection's, not that of who writes what came
}

func (m *moving) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if n > 0 {
		m.moved()
	}
	m.failed = err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	return n, err
}
