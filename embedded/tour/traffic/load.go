package traffic

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/time/rate"

	"github.com/klkube/kl/embedded/tour"
)

// maxWorkers bounds how many requests are under way at the same time.
const maxWorkers = 1000

// Load asks a server at a rate and counts what fails.
func Load() tour.Program {
	l := &loader{}
	return tour.Program{
		Name: "load", Args: "URL", Short: "asks a server at a steady rate and counts failures", Run: l.run,
		Long: `It prints a line each second, and one at the end: "total 600 requests, 0 failed: server-0 301, server-1 299". The exit code is 1 if a
request failed. URL is as for get.`,
		Flags: func(fs *pflag.FlagSet) {
			fs.IntVar(&l.workers, "workers", 4, "requests under way at the same time, at most")
			fs.DurationVar(&l.limit, "for", 0, "end after this time; 0 goes on until SIGTERM")
			fs.Float64Var(&l.rate, "rate", 50, "requests a second; 0 is as many as workers manage")
			fs.DurationVar(&l.timeout, "timeout", 2*time.Second, "how long to wait for each answer")
		},
	}
}

type loader struct {
	workers        int
	limit, timeout time.Duration
	rate           float64
}

func (l *loader) run(ctx context.Context, args []string, log *tour.Log) error {
	if l.workers < 1 || l.workers > maxWorkers {
		return tour.Usagef("--workers is %d: want 1 to %d", l.workers, maxWorkers)
	}
	if !(l.rate >= 0 && l.rate <= math.MaxInt32) {
		return tour.Usagef("--rate is %v: want 0 or more requests a second", l.rate)
	}
	a, err := newAsker(args[0], l.timeout, "")
	if err != nil {
		return err
	}
	stopped := ctx
	ctx, cancel, err := tour.Limit(ctx, l.limit)
	if err != nil {
		return err
	}
	defer cancel()
	limiter := rate.NewLimiter(rate.Inf, 1)
	if l.rate > 0 {
		limiter = rate.NewLimiter(rate.Limit(l.rate), 1)
	}
	counts := &counts{second: newTally(), total: newTally()}
	var wg sync.WaitGroup
	for range l.workers {
		wg.Go(func() {
			// What is under way when the time is over is still waited for: it is an answer or a failure.
			for limiter.Wait(ctx) == nil {
				answer, err := a.ask(stopped)
				if stopped.Err() != nil {
					return
				}
				counts.add(answer, err)
			}
		})
	}
	reported := make(chan struct{})
	go func() { defer close(reported); counts.report(ctx, log) }()
	wg.Wait()
	<-reported
	log.Printf("total %s", counts.total)
	if counts.total.failed > 0 {
		return fmt.Errorf("%s: %d of %d requests failed", args[0], counts.total.failed, counts.total.requests)
	}
	return nil
}

// counts is what the requests of one second, and of all of them, came to.
type counts struct {
	mu            sync.Mutex
	second, total *tally
}

func (c *counts) add(answer string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.second.add(answer, err)
	c.total.add(answer, err)
}

// report logs the counts of each second until ctx is done.
func (c *counts) report(ctx context.Context, log *tour.Log) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.mu.Lock()
		second := c.second
		c.second = newTally()
		c.mu.Unlock()
		log.Printf("%s", second)
	}
}
