package kit

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// look is the style that a terminal writes in.
type look struct {
	fg, bg          string // #rrggbb; empty is the default
	bold, underline bool
	faint, reverse  bool
}

// WriteSVG draws a frame of the given size as a picture, with one text element for each run of equal style, placed on
// the grid of cells.
func WriteSVG(out io.Writer, frame string, size Area, light bool) error {
	const cw, ch, pad = 8.43, 16.4, 14.0
	ink, paper := "#d6deeb", "#11151d"
	if light {
		ink, paper = "#1f2733", "#fbfcfe"
	}
	w := bufio.NewWriter(out)
	width, height := float64(size.W)*cw+2*pad, float64(size.H)*ch+2*pad
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="'JetBrains Mono','DejaVu Sans Mono',Menlo,Consolas,monospace" font-size="14">`+"\n", width, height, width, height)
	fmt.Fprintf(w, `<rect width="100%%" height="100%%" rx="8" fill="%s"/>`+"\n", paper)
	for y, line := range strings.Split(frame, "\n") {
		x := 0
		for _, r := range runs(line) {
			n := ansi.StringWidth(r.text)
			fg, bg := r.look.fg, r.look.bg
			if fg == "" {
				fg = ink
			}
			if r.look.reverse {
				fg, bg = paper, fg
			}
			left, top := pad+float64(x)*cw, pad+float64(y)*ch
			if bg != "" {
				fmt.Fprintf(w, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", left, top, float64(n)*cw+0.3, ch, bg)
			}
			if strings.TrimSpace(r.text) != "" {
				style := ""
				if r.look.bold {
					style += ` font-weight="bold"`
				}
				if r.look.underline {
					style += ` text-decoration="underline"`
				}
				fmt.Fprintf(w, `<text x="%.1f" y="%.1f" fill="%s"%s textLength="%.1f" lengthAdjust="spacingAndGlyphs" xml:space="preserve">%s</text>`+"\n",
					left, top+ch*0.74, fg, style, float64(n)*cw, escape(r.text))
			}
			x += n
		}
	}
	fmt.Fprintln(w, "</svg>")
	return w.Flush()
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// run is a piece of text in one look.
type run struct {
	text string
	look look
}

// runs splits a line where its look changes.
func runs(line string) []run {
	var out []run
	var now look
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			out = append(out, run{b.String(), now})
			b.Reset()
		}
	}
	for len(line) > 0 {
		if strings.HasPrefix(line, "\x1b[") {
			end := strings.IndexByte(line, 'm')
			if end < 0 {
				break
			}
			flush()
			now.apply(line[2:end])
			line = line[end+1:]
			continue
		}
		next := strings.Index(line, "\x1b[")
		if next < 0 {
			next = len(line)
		}
		b.WriteString(line[:next])
		line = line[next:]
	}
	flush()
	return out
}

// apply changes a look as the parameters of an SGR sequence say. It understands true colour only, which frames are drawn in.
func (l *look) apply(params string) {
	p := strings.Split(params, ";")
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case "", "0":
			*l = look{}
		case "1":
			l.bold = true
		case "2":
			l.faint = true
		case "4":
			l.underline = true
		case "7":
			l.reverse = true
		case "38", "48":
			if i+4 >= len(p) {
				return
			}
			var c [3]int
			for j := range c {
				n, err := strconv.Atoi(p[i+2+j])
				if err != nil {
					return
				}
				c[j] = n
			}
			hex := fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2])
			if p[i] == "38" {
				l.fg = hex
			} else {
				l.bg = hex
			}
			i += 4
		}
	}
}
