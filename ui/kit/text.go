package kit

import (
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

// Area is a size in cells.
type Area struct{ W, H int }

// Inner is the area inside a panel of area a.
func (a Area) Inner() Area { return Area{a.W - 4, a.H - 2} }

// String writes the area as width x height: 80x24.
func (a Area) String() string { return fmt.Sprintf("%dx%d", a.W, a.H) }

// plain reports whether s is printable ASCII, which is as wide as it is long.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// Clean makes text from outside safe to print: it removes control characters, escape sequences and whatever changes the
// writing direction of the text after it. Tabs and newlines become spaces.
func Clean(s string) string {
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

// Width returns how many cells s takes; s may hold styles.
func Width(s string) int {
	if plain(s) {
		return len(s)
	}
	return ansi.StringWidth(s)
}

// Cut shortens s to w cells with an ellipsis; s may hold styles.
func Cut(s string, w int) string {
	switch {
	case w <= 0:
		return ""
	case Width(s) <= w:
		return s
	}
	return ansi.Truncate(s, w, "…")
}

// Fit makes s exactly w cells wide.
func Fit(s string, w int) string {
	s = Cut(s, w)
	if n := w - Width(s); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}

// FitRight is Fit with the text at the right edge.
func FitRight(s string, w int) string {
	s = Cut(s, w)
	if n := w - Width(s); n > 0 {
		return strings.Repeat(" ", n) + s
	}
	return s
}

// Block makes text exactly as large as the area: lines are cut or padded, missing lines are blank.
func Block(s string, a Area) string {
	lines := strings.Split(s, "\n")
	if len(lines) > a.H {
		lines = lines[:max(0, a.H)]
	}
	for i, l := range lines {
		lines[i] = Fit(l, a.W)
	}
	for len(lines) < a.H {
		lines = append(lines, strings.Repeat(" ", max(0, a.W)))
	}
	return strings.Join(lines, "\n")
}

// Spread puts left and right at the edges of w cells. If both do not fit, right is cut.
func Spread(left, right string, w int) string {
	l, r := Width(left), Width(right)
	if l+r+1 > w {
		if l+8 > w {
			return Fit(left, w)
		}
		right = Cut(right, w-l-1)
		r = Width(right)
	}
	return left + strings.Repeat(" ", max(0, w-l-r)) + right
}

// Beside joins two blocks of equal height.
func Beside(left, right string) string {
	a, b := strings.Split(left, "\n"), strings.Split(right, "\n")
	for i := range a {
		if i < len(b) {
			a[i] += b[i]
		}
	}
	return strings.Join(a, "\n")
}

// Wrap breaks plain text at spaces into lines of at most w cells.
func Wrap(s string, w int) []string {
	if w <= 0 {
		return nil
	}
	return strings.Split(ansi.Wrap(Clean(s), w, " /,"), "\n")
}

// Over draws a box over a frame, at column x and line y.
func Over(frame, box string, x, y int) string {
	lines := strings.Split(frame, "\n")
	for i, b := range strings.Split(box, "\n") {
		if y+i < 0 || y+i >= len(lines) {
			continue
		}
		l := lines[y+i]
		w := Width(b)
		lines[y+i] = ansi.Cut(l, 0, x) + b + ansi.Cut(l, x+w, max(x+w, Width(l)))
	}
	return strings.Join(lines, "\n")
}

// CPU writes millicores: 7m, 250m, 1.25, 12.
func CPU(milli int64) string {
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

// Bytes writes bytes in binary units with at most three digits: 512Ki, 77Mi, 1.5Gi.
func Bytes(bytes int64) string {
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

// Seconds writes a latency: 0.4ms, 12ms, 1.3s.
func Seconds(v float64) string {
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

// Count writes a number with a noun in the singular or plural: 1 policy, 2 policies.
func Count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(noun, "y"))
	default:
		return fmt.Sprintf("%d %ss", n, noun)
	}
}
