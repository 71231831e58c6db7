//go:build linux

package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/klkube/kl/embedded/node/storage"
)

// patience is how long a request waits for a copy that it began or found. Agents wait longer for an answer.
const patience = 15 * time.Second

// copies are the copies under way, by the directory that each makes. A copy goes on when the request that began it is over: the next
// request for it finds it, and its error. The zero value is ready for use.
type copies struct {
	patience time.Duration // of tests; 0 for the constant

	mu      sync.Mutex
	closed  bool
	running map[string]*copying // and those that failed, until a request has the error
}

type copying struct {
	source string
	stop   context.CancelFunc
	done   chan struct{}
	err    error // once done is closed
}

// run runs f, unless it runs already for that directory. It returns f's error, or ErrCopying if f needs longer than a request waits.
func (c *copies) run(ctx context.Context, dir, source string, f func(context.Context) error) error {
	job, err := c.find(ctx, dir, source, f)
	if err != nil {
		return err
	}
	select {
	case <-job.done:
	case <-time.After(cmp.Or(c.patience, patience)):
		return fmt.Errorf("%w: %s", storage.ErrCopying, source)
	case <-ctx.Done():
		return fmt.Errorf("%w: %s", storage.ErrCopying, source)
	}
	c.forget(dir, job)
	return job.err
}

// find returns the copy for a directory, and starts it if there is none.
func (c *copies) find(ctx context.Context, dir, source string, f func(context.Context) error) (*copying, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if job, ok := c.running[dir]; ok {
		if job.source != source {
			return nil, fmt.Errorf("%w: it is being copied from %s", storage.ErrExists, job.source)
		}
		return job, nil
	}
	if c.closed {
		return nil, errors.New("the node's storage is stopping")
	}
	if c.running == nil {
		c.running = map[string]*copying{}
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	job := &copying{source: source, stop: stop, done: make(chan struct{})}
	c.running[dir] = job
	go func() {
		job.err = f(ctx)
		stop()
		if job.err == nil {
			c.forget(dir, job)
		}
		close(job.done)
	}()
	return job, nil
}

func (c *copies) forget(dir string, job *copying) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running[dir] == job {
		delete(c.running, dir)
	}
}

// cancel stops the copy for a directory, if there is one, and returns when it has ended.
func (c *copies) cancel(dir string) {
	c.mu.Lock()
	job, ok := c.running[dir]
	c.mu.Unlock()
	if ok {
		job.stop()
		<-job.done
		c.forget(dir, job)
	}
}

// open allows new copies.
func (c *copies) open() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = false
}

// close stops all copies, and returns when they have ended.
func (c *copies) close() {
	c.mu.Lock()
	c.closed = true
	all := make([]*copying, 0, len(c.running))
	for _, job := range c.running {
		all = append(all, job)
	}
	c.mu.Unlock()
	for _, job := range all {
		job.stop()
		<-job.done
	}
}
