package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// How often progress is shown: as a line that is written again on a terminal, and as one more line elsewhere.
const (
	liveEvery = 500 * time.Millisecond
	logEvery  = 20 * time.Second
)

// progress shows how far a build is. Its methods may be called from any goroutine.
type progress struct {
	mu    sync.Mutex
	w     io.Writer
	live  bool // w is a terminal
	now   func() time.Time
	shown bool // the terminal's last line is ours

	modules int
	begun   map[string]bool  // packages that are built or being built
	left    map[string]int64 // packages to be built and their work, nil until it is known
	since   time.Time        // when left became known
	done    int64            // work of packages begun since then
}

// fetching notes how many modules have been fetched or are being fetched.
func (p *progress) fetching(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.modules = n
}

// building notes that a package is being built.
func (p *progress) building(pkg string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun == nil {
		p.begun = map[string]bool{}
	}
	p.begun[pkg] = true
	p.done += p.left[pkg]
	delete(p.left, pkg)
}

// expect notes the packages that were missing from Go's cache a moment ago, and the work each of them is.
func (p *progress) expect(left map[string]int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.since, p.done = left, p.now(), 0
	for pkg := range p.begun {
		delete(p.left, pkg)
	}
}

// say writes what somebody else says.
func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	_, _ = io.WriteString(p.w, text)
}

// clear removes the line from the terminal.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

func (p *progress) erase() {
	if p.shown {
		_, _ = io.WriteString(p.w, "\r\x1b[K")
	}
	p.shown = false
}

// tick shows the progress again and again until ctx is done.
func (p *progress) tick(ctx context.Context) {
	every := logEvery
	if p.live {
		every = liveEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			p.show()
		}
	}
}

func (p *progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := p.text()
	switch {
	case text == "":
	case p.live:
		p.erase()
		_, _ = io.WriteString(p.w, text)
		p.shown = true
	default:
		_, _ = fmt.Fprintln(p.w, text)
	}
}

// text is the line, empty if nothing is to be built.
func (p *progress) text() string {
	switch {
	case len(p.begun) == 0 && p.modules == 0:
		return ""
	case len(p.begun) == 0:
		return fmt.Sprintf("fetching modules: %d", p.modules)
	case p.left == nil:
		return fmt.Sprintf("compiling: %d packages", len(p.begun))
	case len(p.left) == 0:
		return fmt.Sprintf("compiled %d packages, linking", len(p.begun))
	}
	text := fmt.Sprintf("compiling: %d of %d packages", len(p.begun), len(p.begun)+len(p.left))
	if took := p.now().Sub(p.since); p.done > 0 && took >= 5*time.Second {
		var left int64
		for _, work := range p.left {
			left += work
		}
		text += ", about " + about(time.Duration(float64(took)*float64(left)/float64(p.done))) + " left"
	}
	return text
}

// about says a time as one says an estimate.
func about(d time.Duration) string {
	if d < 90*time.Second {
		return fmt.Sprintf("%d s", max(10, int(d.Seconds()+5)/10*10))
	}
	return fmt.Sprintf("%d min", int(d.Minutes()+0.5))
}
