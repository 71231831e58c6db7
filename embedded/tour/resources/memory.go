package resources

import (
	"context"
	"os"
	"runtime"
	"time"

	"github.com/spf13/pflag"

	"github.com/klkube/kl/embedded/tour"
)

// growStep is how much memory is taken before ctx is looked at again.
const growStep = 1 << 20

// Grow uses memory.
func Grow() tour.Program {
	g := &grower{memory: tour.Size(64 << 20)}
	return tour.Program{
		Name: "grow", Short: "uses memory, and goes on holding it", Run: g.run,
		Flags: func(fs *pflag.FlagSet) {
			fs.Var(&g.memory, "memory", "how much memory to use")
			fs.DurationVar(&g.limit, "for", 0, "end after this time; 0 goes on until SIGTERM")
		},
	}
}

type grower struct {
	memory tour.Size
	limit  time.Duration
}

func (g *grower) run(ctx context.Context, _ []string, log *tour.Log) error {
	ctx, cancel, err := tour.Limit(ctx, g.limit)
	if err != nil {
		return err
	}
	defer cancel()
	var held [][]byte
	for left := int64(g.memory); left > 0 && ctx.Err() == nil; left -= growStep {
		b := make([]byte, min(left, growStep))
		for i := 0; i < len(b); i += os.Getpagesize() {
			b[i] = 1 // the kernel gives a page once it is written to
		}
		held = append(held, b)
	}
	if ctx.Err() == nil {
		log.Printf("holds %s", g.memory)
	}
	<-ctx.Done()
	runtime.KeepAlive(held)
	return nil
}
