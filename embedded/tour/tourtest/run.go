// Package tourtest runs programs of the tour in tests, as the engine does: with arguments, and a log that tests wait for.
//
//	r := tourtest.Start(t, traffic.Serve(), "--http", "127.0.0.1:0", "--tcp", "", "--udp", "")
//	addr := r.Wait(`http (\S+)`)[1]
//	…
//	err := r.Stop() // as SIGTERM does
package tourtest

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klkube/kl/embedded/tour"
)

// limit is how long a test waits for anything.
const limit = 20 * time.Second

// Run is a program that was started.
type Run struct {
	t      testing.TB
	cancel context.CancelFunc
	done   chan struct{}
	err    error // once done is closed

	mu      sync.Mutex
	text    strings.Builder
	changed chan struct{} // closed, and replaced, when text grows
}

// Start runs a program in the background. It ends with the test, at the latest.
func Start(t testing.TB, p tour.Program, args ...string) *Run {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &Run{t: t, cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = tour.Run(ctx, []tour.Program{p}, append([]string{p.Name}, args...), r)
	}()
	t.Cleanup(func() { cancel(); <-r.done })
	return r
}

// Write takes what the program prints.
func (r *Run) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text.Write(p)
	close(r.changed)
	r.changed = make(chan struct{})
	return len(p), nil
}

// Output is what the program has printed so far.
func (r *Run) Output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// Wait waits until the output matches a pattern, and returns the match and its groups. The test fails if the program ends before.
func (r *Run) Wait(pattern string) []string {
	r.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.After(limit); ; {
		r.mu.Lock()
		text, changed := r.text.String(), r.changed
		r.mu.Unlock()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-changed:
		case <-r.done:
			if m := re.FindStringSubmatch(r.Output()); m != nil {
				return m
			}
			r.t.Fatalf("the program ended (%v) without %q in its output:\n%s", r.err, pattern, r.Output())
		case <-deadline:
			r.t.Fatalf("no %q in the output after %s:\n%s", pattern, limit, r.Output())
		}
	}
}

// End waits until the program ends by itself, and returns its error.
func (r *Run) End() error {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(limit):
		r.t.Fatalf("the program still runs after %s:\n%s", limit, r.Output())
	}
	return r.err
}

// Stop ends the program as SIGTERM does, and returns its error. The test fails if that takes a second.
func (r *Run) Stop() error {
	r.t.Helper()
	began := time.Now()
	r.cancel()
	err := r.End()
	if took := time.Since(began); took > time.Second {
		r.t.Errorf("the program took %s to stop", took)
	}
	return err
}

// Do sends a request and returns the status and the body of the answer.
func Do(t testing.TB, r *http.Request) (status int, body string) {
	t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(data)
}
