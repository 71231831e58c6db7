package timeline

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// Sizes in pixels.
const (
	svgNames  = 210 // to the left of the axis
	svgAxis   = 640
	svgRight  = 60 // for the time beside the last bar
	svgRow    = 18
	svgTop    = 48
	svgBottom = 28
)

// svgStyle has the colours of a light and of a dark page. Classes: g group, t time, l grid, w what a step waited for, b bar, p bar on
// the longest path.
const svgStyle = `:root{color-scheme:light dark}
text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#1f2328}
.g{font-weight:600}.t{fill:#59636e;font-size:11px}
.l{stroke:#d1d9e0;stroke-width:1}.w{stroke:#818b98;stroke-width:1;fill:none}
.b{fill:#8bb4e8}.p{fill:#d1570c}.k{fill:#ffffff}
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.t{fill:#9198a1}.l{stroke:#3d444d}.w{stroke:#6e7781}
.b{fill:#3a6ea5}.p{fill:#f0883e}.k{fill:#0d1117}}`

// WriteSVG draws the chart as a picture that needs nothing else and can be read on light and dark pages. A line leads to each bar from
// the end of every step that it waited for.
func (c Chart) WriteSVG(w io.Writer) error {
	rows := c.rows()
	first, last := span(rows)
	d := drawing{first: first, scale: svgAxis / math.Max(last-first, 0.001)}
	heights := map[*row]int{}
	y, group := svgTop, ""
	for i, r := range rows {
		if i == 0 || r.group != group {
			group = r.group
			y += svgRow
			d.text("g", 8, y+13, group)
			y += svgRow
		}
		heights[r] = y
		y += svgRow
	}
	height := y + svgBottom
	for _, r := range rows {
		for _, other := range r.after {
			d.wait(other, r, heights)
		}
	}
	for _, r := range rows {
		d.bar(r, heights[r])
	}
	var b strings.Builder
	width := svgNames + svgAxis + svgRight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n<rect class=\"k\" width=\"100%%\" height=\"100%%\"/>\n", escape(c.Title), svgStyle)
	fmt.Fprintf(&b, "<text class=\"g\" x=\"8\" y=\"20\">%s</text>\n", escape(c.Title))
	d.grid(&b, last, height)
	b.WriteString(d.out.String())
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// drawing collects what is drawn over the grid.
type drawing struct {
	first float64
	scale float64 // pixels a second
	out   strings.Builder
}

func (d *drawing) x(t float64) float64 { return svgNames + (t-d.first)*d.scale }

func (d *drawing) text(class string, x float64, y int, text string) {
	fmt.Fprintf(&d.out, "<text class=\"%s\" x=\"%.1f\" y=\"%d\">%s</text>\n", class, x, y, escape(text))
}

// bar draws a step with its name on the left and its duration behind it. Whoever points at it is told what it waited for.
func (d *drawing) bar(r *row, y int) {
	fmt.Fprintf(&d.out, "<text x=\"20\" y=\"%d\">%s</text>\n", y+13, escape(clip(r.Name, 28)))
	class := "b"
	if r.longer {
		class = "p"
	}
	tip := fmt.Sprintf("%s: %.2f s to %.2f s", r.Name, r.Began, r.Ended)
	for i, other := range r.after {
		if i == 0 {
			tip += ", after "
		} else {
			tip += ", "
		}
		tip += other.fullName(r.group)
	}
	x := d.x(r.Began)
	length := math.Max(d.x(r.Ended)-x, 1.5)
	fmt.Fprintf(&d.out, "<rect class=\"%s\" x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"12\" rx=\"1\"><title>%s</title></rect>\n",
		class, x, y+3, length, escape(tip))
	d.text("t", x+length+4, y+13, fmt.Sprintf("%.2f", r.Ended-r.Began))
}

// wait draws the line from the end of a step to the start of the one that waited for it, or to where it was when it waited.
func (d *drawing) wait(from, to *row, heights map[*row]int) {
	x1, x2 := d.x(from.Ended), d.x(max(from.Ended, to.Began))
	y1, y2 := heights[from]+svgRow/2, heights[to]+svgRow/2
	fmt.Fprintf(&d.out, "<path class=\"w\" d=\"M%.1f %dV%dH%.1f\"/>\n", x1, y1, y2, x2)
}

// grid draws a line for each whole number of seconds, or of a fraction of one, whichever gives about ten.
func (d *drawing) grid(b *strings.Builder, last float64, height int) {
	every := 0.1
	for _, candidate := range []float64{0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600} {
		if (last-d.first)/every <= 12 {
			break
		}
		every = candidate
	}
	for i := 0; float64(i)*every <= last; i++ {
		t := float64(i) * every
		fmt.Fprintf(b, "<path class=\"l\" d=\"M%.1f %dV%d\"/>\n", d.x(t), svgTop-6, height-svgBottom+6)
		label := fmt.Sprintf("%.1f s", t)
		if every >= 1 {
			label = fmt.Sprintf("%.0f s", t)
		}
		fmt.Fprintf(b, "<text class=\"t\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", d.x(t), svgTop-10, label)
	}
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder takes everything
	return b.String()
}
