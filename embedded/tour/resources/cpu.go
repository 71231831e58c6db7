// Package resources has the programs of the tour that use up resources: processors, memory, and files and block devices, whose content
// they find again after a restart.
//
//	kl-engine tour burn --cores 0.5 --for 1m
//	kl-engine tour grow --memory 64Mi
//	kl-engine tour keep /data/starts
//	kl-engine tour fill /tmp/file --size 100Mi
package resources

import (
	"context"
	"fmt"
	"math"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/klkube/kl/embedded/tour"
)

// slice is how often a core that is used in part is used and left alone.
const slice = 100 * time.Millisecond

// Spin keeps one processor busy for d, or until ctx is done.
func Spin(ctx context.Context, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; {
		for range 1000 {
			_ = math.Sqrt(float64(end.Nanosecond()))
		}
	}
}

// Burn uses processors.
func Burn() tour.Program {
	b := &burner{}
	return tour.Program{
		Name: "burn", Short: "uses processors", Run: b.run,
		Flags: func(fs *pflag.FlagSet) {
			fs.Float64Var(&b.cores, "cores", 0.5, "how many processors to keep busy")
			fs.DurationVar(&b.limit, "for", 0, "end after this time; 0 goes on until SIGTERM")
		},
	}
}

type burner struct {
	cores float64
	limit time.Duration
}

func (b *burner) run(ctx context.Context, _ []string, log *tour.Log) error {
	if !(b.cores > 0 && b.cores <= 1024) {
		return tour.Usagef("--cores is %v: want more than 0, and at most 1024", b.cores)
	}
	ctx, cancel, err := tour.Limit(ctx, b.limit)
	if err != nil {
		return err
	}
	defer cancel()
	began := time.Now()
	before, err := processorTime()
	if err != nil {
		return err
	}
	log.Printf("keeps %v cores busy", b.cores)
	var g errgroup.Group
	for left := b.cores; left > 0; left-- {
		g.Go(func() error { spinPart(ctx, min(left, 1)); return nil })
	}
	_ = g.Wait()
	after, err := processorTime()
	if err != nil {
		return err
	}
	log.Printf("used %.1f s of processors in %.1f s", (after - before).Seconds(), time.Since(began).Seconds())
	return nil
}

// spinPart keeps a part of one processor busy, from 0 to 1, until ctx is done.
func spinPart(ctx context.Context, part float64) {
	tick := time.NewTicker(slice)
	defer tick.Stop()
	for ctx.Err() == nil {
		Spin(ctx, time.Duration(part*float64(slice)))
		if part >= 1 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// processorTime is the time for which this process has used processors.
func processorTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read the time of this process: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
