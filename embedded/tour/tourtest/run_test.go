package tourtest_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/klkube/kl/embedded/tour"
	"github.com/klkube/kl/embedded/tour/tourtest"
)

func program(wait bool) tour.Program {
	return tour.Program{Name: "try", Args: "[NAME]", Short: "tries", Run: func(ctx context.Context, args []string, log *tour.Log) error {
		log.Printf("begins as %s", args[0])
		if wait {
			<-ctx.Done()
			log.Printf("ends")
			return nil
		}
		return errors.New("no luck")
	}}
}

func TestStart(t *testing.T) {
	r := tourtest.Start(t, program(true), "me")
	if m := r.Wait(`begins as (\w+)\n`); m[1] != "me" {
		t.Errorf("match %q", m)
	}
	if err := r.Stop(); err != nil {
		t.Error(err)
	}
	if got, want := r.Output(), "begins as me\nends\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
	if err := tourtest.Start(t, program(false), "me").End(); err == nil || err.Error() != "try: no luck" {
		t.Errorf("error %v", err)
	}
}

// fatal is a test that remembers why it failed.
type fatal struct {
	testing.TB
	text string
}

func (f *fatal) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// A line that cannot come any more fails the test at once.
func TestWaitForAProgramThatEnded(t *testing.T) {
	f := &fatal{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tourtest.Start(f, program(false), "me").Wait("never")
	}()
	<-done
	if !strings.Contains(f.text, `the program ended (try: no luck) without "never" in its output:`) || !strings.HasSuffix(f.text, "begins as me\n") {
		t.Errorf("the test failed with %q", f.text)
	}
}
