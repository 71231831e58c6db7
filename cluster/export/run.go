package export

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Part is one thing that is gathered.
type Part interface {
	// Name is what the part is called in index.txt and while it is gathered.
	Name() string
	// Limit is how long it may take.
	Limit() time.Duration
	// Gather adds files to a folder until ctx is done. What is there by then stays. The error says why nothing else could be gathered.
	Gather(ctx context.Context, to *Folder) error
}

// grace is how long a part whose time is over may take to return, so that it can say what it lacks.
const grace = time.Second

// progressEvery is how often Progress is reported.
const progressEvery = 100 * time.Millisecond

// Progress is how far an export is.
type Progress struct {
	Done, Of int      // parts
	Running  []string // names of parts
	Bytes    int64    // that are written
}

// gathered is what became of one part.
type gathered struct {
	files   []File
	missing []string
}

// errLimit is the cause of a context whose part took too long.
var errLimit = errors.New("its time is over")

// gatherAll gathers all parts side by side. It returns an error only if ctx ends. Progress is called often, by one goroutine.
func gatherAll(ctx context.Context, root *os.Root, k known, parts []Part, progress func(Progress)) ([]gathered, error) {
	results := make([]gathered, len(parts))
	var written atomic.Int64
	var mu sync.Mutex
	running := map[int]bool{}
	mark := func(i int, on bool) {
		mu.Lock()
		defer mu.Unlock()
		if running[i] = on; !on {
			delete(running, i)
		}
	}
	var wg sync.WaitGroup
	for i, p := range parts {
		mark(i, true)
		wg.Go(func() {
			defer mark(i, false)
			folder := &Folder{root: root, known: k, written: &written}
			err := bounded(ctx, p.Limit(), func(ctx context.Context) error { return gather(ctx, p, folder) })
			folder.Miss(p.Name(), err)
			results[i].files, results[i].missing = folder.close()
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-done: // soon after ctx, whatever hangs
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return results, nil
		case <-tick.C:
			mu.Lock()
			p := Progress{Done: len(parts) - len(running), Of: len(parts), Bytes: written.Load()}
			for i := range parts {
				if running[i] {
					p.Running = append(p.Running, parts[i].Name())
				}
			}
			mu.Unlock()
			if len(p.Running) > 0 {
				progress(p)
			}
		}
	}
}

// gather makes a panic of one part an error, so that the others are not lost with it.
func gather(ctx context.Context, p Part, to *Folder) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return p.Gather(ctx, to)
}

// bounded calls f with a context that ends after a limit, and returns soon after that, whether f has returned or not.
func bounded(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	inner, cancel := context.WithTimeoutCause(ctx, limit, errLimit)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(inner) }()
	select {
	case err := <-done:
		return limited(inner, limit, err)
	case <-inner.Done():
	}
	if ctx.Err() != nil { // nobody waits for it
		return context.Cause(ctx)
	}
	last := time.NewTimer(grace)
	defer last.Stop()
	select {
	case err := <-done:
		return limited(inner, limit, err)
	case <-last.C:
		return fmt.Errorf("not done within %s; what was there by then is in the bundle", limit)
	}
}

// limited says in words that a limit was the reason for an error.
func limited(ctx context.Context, limit time.Duration, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errLimit) {
		return fmt.Errorf("not done within %s; what was there by then is in the bundle", limit)
	}
	return err
}

// part is a Part that is a function.
type part struct {
	name   string
	limit  time.Duration
	gather func(ctx context.Context, to *Folder) error
}

var _ Part = part{}

func (p part) Name() string                                 { return p.name }
func (p part) Limit() time.Duration                         { return p.limit }
func (p part) Gather(ctx context.Context, to *Folder) error { return p.gather(ctx, to) }

// each calls f for all items, a few at a time, until ctx is done.
func each[T any](ctx context.Context, items []T, f func(T)) {
	const atOnce = 4
	var wg sync.WaitGroup
	next := make(chan T)
	for range min(atOnce, len(items)) {
		wg.Go(func() {
			for item := range next {
				f(item)
			}
		})
	}
	for _, item := range items {
		if ctx.Err() != nil {
			break
		}
		select {
		case next <- item:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
}
