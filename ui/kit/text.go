package ui

import (
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// area is a size in cells.
type area struct{ w, h int }

// inner is what a panel of that area has room for.
func (a area) inner() area { return area{a.w - 4, a.h - 2} }

func (a area) String() string { return fmt.Sprintf("%dx%d", a.w, a.h) }

// plain reports whether s is printable ASCII, which is as wide as it is long.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// clean makes text from a cluster safe to print: no control characters, no escape sequences, nothing that changes the
// writing direction of what follows. Tabs and newlines become spaces.
func clean(s string) string {
	if plain(s) {
		return s
	}
	s = ansi.Strip(s)
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case r == utf8.RuneError, unicode.IsControl(r), r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x2069, r == 0xfeff:
			return -1
		}
		return r
	}, s)
}

// width is the number of cells s takes; s may hold styles.
func width(s string) int {
	if plain(s) {
		return len(s)
	}
	return ansi.StringWidth(s)
}

// cut shortens s to w cells with an ellipsis; s may hold styles.
func cut(s string, w int) string {
	switch {
	case w <= 0:
		return ""
	case width(s) <= w:
		return s
	}
	return ansi.Truncate(s, w, "…")
}

// fit makes s exactly w cells wide.
func fit(s string, w int) string {
	s = cut(s, w)
	if n := w - width(s); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}

// fitRight is fit with the text at the right edge.
func fitRight(s string, w int) string {
	s = cut(s, w)
	if n := w - width(s); n > 0 {
		return strings.Repeat(" ", n) + s
	}
	return s
}

// block makes text exactly as large as the area: lines cut or padded, missing lines blank.
func block(s string, a area) string {
	lines := strings.Split(s, "\n")
	if len(lines) > a.h {
		lines = lines[:max(0, a.h)]
	}
	for i, l := range lines {
		lines[i] = fit(l, a.w)
	}
	for len(lines) < a.h {
		lines = append(lines, strings.Repeat(" ", max(0, a.w)))
	}
	return strings.Join(lines, "\n")
}

// spread puts left and right at the edges of w cells; right gives way.
func spread(left, right string, w int) string {
	l, r := width(left), width(right)
	if l+r+1 > w {
		if l+8 > w {
			return fit(left, w)
		}
		right = cut(right, w-l-1)
		r = width(right)
	}
	return left + strings.Repeat(" ", max(0, w-l-r)) + right
}

// beside joins two blocks of equal height.
func beside(left, right string) string {
	a, b := strings.Split(left, "\n"), strings.Split(right, "\n")
	for i := range a {
		if i < len(b) {
			a[i] += b[i]
		}
	}
	return strings.Join(a, "\n")
}

// wrap breaks plain text at spaces into lines of at most w cells.
func wrap(s string, w int) []string {
	if w <= 0 {
		return nil
	}
	return strings.Split(ansi.Wrap(clean(s), w, " /,"), "\n")
}

// over lays a box onto a frame at column x, line y.
func over(frame, box string, x, y int) string {
	lines := strings.Split(frame, "\n")
	for i, b := range strings.Split(box, "\n") {
		if y+i < 0 || y+i >= len(lines) {
			continue
		}
		l := lines[y+i]
		w := width(b)
		lines[y+i] = ansi.Cut(l, 0, x) + b + ansi.Cut(l, x+w, max(x+w, width(l)))
	}
	return strings.Join(lines, "\n")
}

// cpu writes millicores: 7m, 250m, 1.25, 12.
func cpu(milli int64) string {
	switch {
	case milli < 0:
		return "–"
	case milli < 1000:
		return fmt.Sprintf("%dm", milli)
	case milli < 10000:
		return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", float64(milli)/1000), "0"), ".")
	default:
		return fmt.Sprintf("%.0f", float64(milli)/1000)
	}
}

// mem writes bytes in binary units with at most three digits: 512Ki, 77Mi, 1.5Gi.
func mem(bytes int64) string {
	if bytes < 0 {
		return "–"
	}
	v, units := float64(bytes), []string{"B", "Ki", "Mi", "Gi", "Ti", "Pi"}
	i := 0
	for v >= 1000 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if v < 10 && i > 2 {
		return fmt.Sprintf("%.1f%s", v, units[i])
	}
	return fmt.Sprintf("%.0f%s", v, units[i])
}

// secs writes a latency: 0.4ms, 12ms, 1.3s.
func secs(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v < 0.001:
		return fmt.Sprintf("%.1fms", v*1000)
	case v < 1:
		return fmt.Sprintf("%.0fms", v*1000)
	default:
		return fmt.Sprintf("%.1fs", v)
	}
}

// count writes n and a noun in the right number.
func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(noun, "y"))
	default:
		return fmt.Sprintf("%d %ss", n, noun)
	}
}
