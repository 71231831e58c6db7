package traffic

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/klkube/kl/embedded/tour"
)

// Get asks a server and prints what it answers.
func Get() tour.Program {
	g := &getter{}
	return tour.Program{
		Name: "get", Args: "URL", Short: "asks a server and prints its answer", Run: g.run,
		Long: `URL is http://HOST:PORT/PATH, tcp://HOST:PORT or udp://HOST:PORT. The exit code is 1, with one line that says why ("refused",
"timed out", "unreachable", "status 503" …), if there is no answer. With --count it is 1 if any answer is missing, and what is printed
is one line: "20 requests, 1 failed: server-0 11, server-1 8, refused 1".`,
		Flags: func(fs *pflag.FlagSet) {
			fs.DurationVar(&g.timeout, "timeout", 2*time.Second, "how long to wait for each answer")
			fs.IntVar(&g.count, "count", 1, "how often to ask; each time over a new connection")
			fs.DurationVar(&g.interval, "interval", 0, "pause between two requests")
			fs.StringVar(&g.bind, "bind", "", "address of this host to ask from")
		},
	}
}

type getter struct {
	timeout, interval time.Duration
	count             int
	bind              string
}

func (g *getter) run(ctx context.Context, args []string, log *tour.Log) error {
	if g.count < 1 {
		return tour.Usagef("--count is %d: want 1 or more", g.count)
	}
	if g.interval < 0 {
		return tour.Usagef("--interval is %s: want a time that is not negative", g.interval)
	}
	a, err := newAsker(args[0], g.timeout, g.bind)
	if err != nil {
		return err
	}
	if g.count == 1 {
		answer, err := a.ask(ctx)
		for line := range strings.Lines(answer) {
			log.Printf("%s", strings.TrimRight(line, "\r\n"))
		}
		if err != nil {
			return fmt.Errorf("%s: %s", args[0], reason(err))
		}
		return nil
	}
	tally := newTally()
	for i := range g.count {
		if i > 0 && !pause(ctx, g.interval) {
			break
		}
		if answer, err := a.ask(ctx); ctx.Err() == nil {
			tally.add(answer, err)
		}
	}
	log.Printf("%s", tally)
	if tally.failed > 0 {
		return fmt.Errorf("%s: %d of %d requests failed", args[0], tally.failed, tally.requests)
	}
	return nil
}

// pause waits for d and reports whether ctx is not done.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	return ctx.Err() == nil
}

// tally counts answers by who gave them, and failures by their reason.
type tally struct {
	requests, failed  int
	answers, failures map[string]int
}

func newTally() *tally { return &tally{answers: map[string]int{}, failures: map[string]int{}} }

func (t *tally) add(answer string, err error) {
	t.requests++
	if err != nil {
		t.failed++
		t.failures[reason(err)]++
		return
	}
	t.answers[responder(answer)]++
}

// String is "20 requests, 1 failed: server-0 11, server-1 8, refused 1".
func (t *tally) String() string {
	var parts []string
	for _, m := range []map[string]int{t.answers, t.failures} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
		}
	}
	line := fmt.Sprintf("%d requests, %d failed", t.requests, t.failed)
	if len(parts) > 0 {
		line += ": " + strings.Join(parts, ", ")
	}
	return line
}
