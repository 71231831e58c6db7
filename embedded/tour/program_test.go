package tour_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/klkube/kl/embedded/tour"
)

func programs() []tour.Program {
	size, limit := tour.Size(64<<20), time.Duration(0)
	return []tour.Program{
		{Name: "plain", Short: "does little", Run: func(_ context.Context, _ []string, log *tour.Log) error {
			log.Printf("a line\nand \x1b[31mmore")
			return nil
		}},
		{Name: "copy", Args: "FILE [COPY]", Short: "copies", Long: "It is a copy.",
			Flags: func(fs *pflag.FlagSet) {
				fs.Var(&size, "size", "how much")
				fs.DurationVar(&limit, "for", 0, "end after this time")
			},
			Run: func(ctx context.Context, args []string, log *tour.Log) error {
				ctx, cancel, err := tour.Limit(ctx, limit)
				if err != nil {
					return err
				}
				defer cancel()
				log.Printf("%q %s", args, size)
				return ctx.Err()
			}},
		{Name: "fail", Short: "fails", Run: func(context.Context, []string, *tour.Log) error { return errors.New("no luck") }},
		{Name: "wait", Short: "waits", Run: func(ctx context.Context, _ []string, _ *tour.Log) error { <-ctx.Done(); return ctx.Err() }},
	}
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  string
		out   string // that the output contains
		err   string
		usage bool
	}{
		{"nothing", "", "", "the program is missing: one of plain, copy, fail, wait", true},
		{"unknown program", "plane", "", `unknown program "plane": want one of plain, copy, fail, wait`, true},
		{"list", "--help", "  copy         copies\n", "", false},
		{"help of a program", "copy -h", "It is a copy.\n\nUsage:\n  kl-engine tour copy FILE [COPY] [flags]\n\nFlags:\n      --size size", "", false},
		{"help wins", "copy --help", "copies.\n", "", false},
		{"one line an event", "plain", "a line and  [31mmore\n", "", false},
		{"arguments", "copy a b --size 1Gi", "[\"a\" \"b\"] 1Gi\n", "", false},
		{"optional argument", "copy a", "[\"a\"] 64Mi\n", "", false},
		{"missing argument", "copy", "", "copy: FILE is missing; see kl-engine tour copy --help", true},
		{"too many arguments", "copy a b c", "", `copy: unexpected argument "c"; see kl-engine tour copy --help`, true},
		{"unknown flag", "plain --loud", "", "plain: unknown flag: --loud; see kl-engine tour plain --help", true},
		{"no size", "copy a --size much", "", `copy: invalid argument "much" for "--size" flag: "much" is not a size such as 64Mi; see kl-engine tour copy --help`, true},
		{"size of nothing", "copy a --size 0", "", `copy: invalid argument "0" for "--size" flag: 0 is not a number of bytes from 1 on, such as 64Mi; see kl-engine tour copy --help`, true},
		{"part of a byte", "copy a --size 100m", "", `copy: invalid argument "100m" for "--size" flag: 100m is not a number of bytes from 1 on, such as 64Mi; see kl-engine tour copy --help`, true},
		{"negative time", "copy a --for=-1s", "", "copy: --for is -1s: want a time that is not negative", true},
		{"failure", "fail", "", "fail: no luck", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := tour.Run(t.Context(), programs(), strings.Fields(tt.args), &out)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if usage := (*tour.UsageError)(nil); text != tt.err || errors.As(err, &usage) != tt.usage {
				t.Errorf("error %q (%T), want %q", text, err, tt.err)
			}
			if !strings.Contains(out.String(), tt.out) {
				t.Errorf("output %q, want %q in it", out.String(), tt.out)
			}
		})
	}
}

// What a program returns because its context is done is no failure; what it returns beside that is.
func TestRunStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := tour.Run(ctx, programs(), []string{"wait"}, &out); err != nil {
		t.Errorf("a program that was stopped: %v", err)
	}
	if err := tour.Run(ctx, programs(), []string{"fail"}, &out); err == nil {
		t.Error("a program that failed while it was stopped: no error")
	}
}
