package cmd

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// liveLine is one line of a terminal that is written again and again. Without a terminal nothing is written.
type liveLine struct {
	w     io.Writer // nil without a terminal
	width func() int
	last  time.Time
	shown bool
}

const liveEvery = 100 * time.Millisecond

func newLiveLine(w io.Writer) *liveLine {
	if !isTerminal(w) {
		return &liveLine{}
	}
	return &liveLine{w: w, width: func() int {
		width, _, err := term.GetSize(int(w.(*os.File).Fd()))
		if err != nil || width == 0 { // a terminal that does not say
			return 80
		}
		return width
	}}
}

// show writes a text, unless another one was written a moment ago.
func (l *liveLine) show(text func() string) {
	if l.w == nil || time.Since(l.last) < liveEvery {
		return
	}
	l.last, l.shown = time.Now(), true
	line := []rune(printable(text()))
	line = line[:min(len(line), max(l.width()-1, 0))] // one that is full would make the terminal go on to the next
	fmt.Fprintf(l.w, "\r\x1b[K%s", string(line))
}

// clear removes the line.
func (l *liveLine) clear() {
	if l.shown {
		fmt.Fprint(l.w, "\r\x1b[K")
		l.shown = false
	}
}
