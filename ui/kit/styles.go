package ui

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"

	"github.com/klkube/kl/cluster/observe"
)

// styles is every look of the interface, built once from colour tokens for one renderer. sel is the same set on the
// background of a selected row.
type styles struct {
	text, dim, faint, title, accent lipgloss.Style
	good, busy, warn, bad           lipgloss.Style
	tab, tabOn, brand               lipgloss.Style
	key, banner, input              lipgloss.Style
	border, borderOn                lipgloss.Style
	added, removed, changed         lipgloss.Style
	palette                         []lipgloss.Style // tells series and pods apart
	sel                             *styles
	colour                          bool
}

// tone is a colour for dark and light backgrounds, with what 256 and 16 colours have nearest.
func tone(dark, light, d256, l256, d16, l16 string) lipgloss.TerminalColor {
	return lipgloss.CompleteAdaptiveColor{
		Dark:  lipgloss.CompleteColor{TrueColor: dark, ANSI256: d256, ANSI: d16},
		Light: lipgloss.CompleteColor{TrueColor: light, ANSI256: l256, ANSI: l16},
	}
}

func newStyles(r *lipgloss.Renderer) *styles {
	s := makeStyles(r, func(x lipgloss.Style) lipgloss.Style { return x })
	few := r.ColorProfile() >= termenv.ANSI // 16 colours have no gentle background: reverse the row instead
	bg := tone("#2a3547", "#d9e4f5", "237", "189", "0", "7")
	s.sel = makeStyles(r, func(x lipgloss.Style) lipgloss.Style {
		if few {
			return r.NewStyle().Reverse(true)
		}
		return x.Background(bg)
	})
	s.sel.sel = s.sel
	return s
}

func makeStyles(r *lipgloss.Renderer, on func(lipgloss.Style) lipgloss.Style) *styles {
	fg := func(c lipgloss.TerminalColor) lipgloss.Style { return on(r.NewStyle().Foreground(c)) }
	var (
		accent = tone("#7aa2f7", "#2456c9", "111", "26", "12", "4")
		dim    = tone("#7f8aa3", "#68738a", "103", "243", "7", "8")
		faint  = tone("#4a5368", "#b3bccb", "240", "250", "8", "7")
		good   = tone("#8ccf7e", "#2f7d32", "114", "28", "10", "2")
		busy   = tone("#67c7d9", "#00748c", "80", "30", "14", "6")
		warn   = tone("#e5b567", "#9a5b00", "179", "130", "11", "3")
		bad    = tone("#f07178", "#c22033", "204", "160", "9", "1")
		violet = tone("#c099ff", "#7b3fb5", "141", "97", "13", "5")
		ink    = tone("#101722", "#ffffff", "234", "231", "0", "15")
	)
	s := &styles{
		text: on(r.NewStyle()), dim: fg(dim), faint: fg(faint), title: on(r.NewStyle().Bold(true)), accent: fg(accent),
		good: fg(good), busy: fg(busy), warn: fg(warn), bad: fg(bad),
		tab: fg(dim), tabOn: fg(accent).Bold(true), brand: r.NewStyle().Bold(true).Foreground(ink).Background(accent),
		key: fg(accent), banner: r.NewStyle().Bold(true).Foreground(ink).Background(warn), input: fg(accent).Bold(true),
		border: fg(faint), borderOn: fg(accent),
		added: fg(good), removed: fg(bad), changed: fg(warn),
		palette: []lipgloss.Style{fg(accent), fg(good), fg(violet), fg(warn), fg(busy), fg(bad)},
		colour:  r.ColorProfile() != termenv.Ascii,
	}
	return s
}

// on returns the styles for a row that is selected or not.
func (s *styles) on(selected bool) *styles {
	if selected {
		return s.sel
	}
	return s
}

func (s *styles) level(l observe.Level) lipgloss.Style {
	switch l {
	case observe.Good:
		return s.good
	case observe.Busy:
		return s.busy
	case observe.Warn:
		return s.warn
	case observe.Bad:
		return s.bad
	}
	return s.dim
}

// dot is a level without words. Its shape tells it without colour too.
func (s *styles) dot(l observe.Level) string {
	switch l {
	case observe.Good:
		return s.good.Render("●")
	case observe.Busy:
		return s.busy.Render("◐")
	case observe.Warn:
		return s.warn.Render("▲")
	case observe.Bad:
		return s.bad.Render("✖")
	}
	return s.dim.Render("○")
}

// load colours a share of a capacity.
func (s *styles) load(share float64) lipgloss.Style {
	switch {
	case share >= 0.9:
		return s.bad
	case share >= 0.75:
		return s.warn
	}
	return s.accent
}

// gauge draws a share as a line of w cells: thick up to it, thin after.
func (s *styles) gauge(share float64, w int) string {
	if w <= 0 {
		return ""
	}
	n := min(w, max(0, int(share*float64(w)+0.5)))
	if n == 0 && share > 0 {
		n = 1
	}
	return s.load(share).Render(strings.Repeat("━", n)) + s.faint.Render(strings.Repeat("─", w-n))
}

// part is a piece of a stacked bar.
type part struct {
	n     int
	rune  string
	style lipgloss.Style
}

// stack draws parts of a whole as one bar of w cells; whatever is left is empty.
func (s *styles) stack(whole, w int, parts ...part) string {
	if w <= 0 {
		return ""
	}
	if whole <= 0 {
		return s.faint.Render(strings.Repeat("·", w))
	}
	var b strings.Builder
	done, sum := 0, 0
	for _, p := range parts {
		sum += p.n
		end := min(w, sum*w/whole)
		if p.n > 0 && end == done && end < w {
			end++ // what is there is seen
		}
		if end > done {
			b.WriteString(p.style.Render(strings.Repeat(p.rune, end-done)))
			done = end
		}
	}
	if done < w {
		b.WriteString(s.faint.Render(strings.Repeat("·", w-done)))
	}
	return b.String()
}

const sparks = "▁▂▃▄▅▆▇█"

// spark draws the last w values as columns below top; a negative value is a gap.
func spark(values []float64, top float64, w int) string {
	if w <= 0 {
		return ""
	}
	if len(values) > w {
		values = values[len(values)-w:]
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", w-len(values)))
	levels := []rune(sparks)
	for _, v := range values {
		switch {
		case v < 0:
			b.WriteByte(' ')
		case top <= 0:
			b.WriteRune(levels[0])
		default:
			b.WriteRune(levels[min(len(levels)-1, int(v/top*float64(len(levels))))])
		}
	}
	return b.String()
}

// panel frames content with a title in the upper edge and an optional note at its right.
func (s *styles) panel(title, note, content string, a area, focused bool) string {
	if a.w < 4 || a.h < 3 {
		return block(content, a)
	}
	edge, head := s.border, s.title
	if focused {
		edge, head = s.borderOn, s.tabOn
	}
	inner := a.inner()
	title = cut(clean(title), a.w-6)
	left := edge.Render("╭─ ") + head.Render(title) + " "
	right := edge.Render("─╮")
	if room := a.w - width(left) - 4; note != "" && room > width(note)+2 {
		right = " " + s.dim.Render(note) + edge.Render(" ─╮")
	}
	fill := max(0, a.w-width(left)-width(right))
	lines := []string{left + edge.Render(strings.Repeat("─", fill)) + right}
	for l := range strings.SplitSeq(block(content, inner), "\n") {
		lines = append(lines, edge.Render("│")+" "+l+" "+edge.Render("│"))
	}
	lines = append(lines, edge.Render("╰"+strings.Repeat("─", a.w-2)+"╯"))
	return strings.Join(lines, "\n")
}

// skeleton stands for content that is on its way.
func (s *styles) skeleton(what string, frame int, a area) string {
	spin := []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}
	lines := []string{s.accent.Render(spin[frame%len(spin)]) + s.dim.Render(" "+what)}
	for i := 1; i < min(a.h-1, 9); i++ {
		w := max(1, (a.w-2)*(9-i*2%7)/12)
		lines = append(lines, "  "+s.faint.Render(strings.Repeat("░", min(w, max(0, a.w-2)))))
	}
	return block(strings.Join(lines, "\n"), a)
}

// empty says in the middle of an area that there is nothing, and what to do about it.
func (s *styles) empty(what, hint string, a area) string {
	var lines []string
	for range max(0, a.h/3-1) {
		lines = append(lines, "")
	}
	for _, l := range wrap(what, a.w-2) {
		lines = append(lines, center(s.text.Render(l), a.w))
	}
	for _, l := range wrap(hint, a.w-2) {
		lines = append(lines, center(s.dim.Render(l), a.w))
	}
	return block(strings.Join(lines, "\n"), a)
}

func center(s string, w int) string {
	return strings.Repeat(" ", max(0, (w-width(s))/2)) + s
}

func percent(part, whole int64) string {
	if whole <= 0 {
		return "–"
	}
	return fmt.Sprintf("%d%%", part*100/whole)
}
