package kit

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
)

// Level says how urgent something is. It decides the colour and the mark that something is drawn with.
type Level int

// The levels, in order of urgency.
const (
	Idle Level = iota // nothing to do
	Good
	Busy // under way
	Warn
	Bad
)

// Styles is every style of the interface, made once for one renderer.
type Styles struct {
	Text, Dim, Faint, Title, Accent lipgloss.Style
	Good, Busy, Warn, Bad           lipgloss.Style
	Tab, TabOn, Brand               lipgloss.Style
	Key, Banner, Input              lipgloss.Style
	border, BorderOn                lipgloss.Style
	Added, Removed, Changed         lipgloss.Style
	Palette                         []lipgloss.Style // tells series and pods apart
	selected                        *Styles          // the same styles on the background of a selected row
}

// tone is a colour for dark and for light backgrounds, with the nearest of the 256 and of the 16 colours.
func tone(dark, light, d256, l256, d16, l16 string) lipgloss.TerminalColor {
	return lipgloss.CompleteAdaptiveColor{
		Dark:  lipgloss.CompleteColor{TrueColor: dark, ANSI256: d256, ANSI: d16},
		Light: lipgloss.CompleteColor{TrueColor: light, ANSI256: l256, ANSI: l16},
	}
}

// NewStyles returns the styles for what a renderer knows of its terminal: the number of colours and the background.
func NewStyles(r *lipgloss.Renderer) *Styles {
	s := makeStyles(r, func(x lipgloss.Style) lipgloss.Style { return x })
	few := r.ColorProfile() >= termenv.ANSI // none of 16 colours is a gentle background: reverse the row instead
	bg := tone("#2a3547", "#d9e4f5", "237", "189", "0", "7")
	s.selected = makeStyles(r, func(x lipgloss.Style) lipgloss.Style {
		if few {
			return r.NewStyle().Reverse(true)
		}
		return x.Background(bg)
	})
	s.selected.selected = s.selected
	return s
}

func makeStyles(r *lipgloss.Renderer, on func(lipgloss.Style) lipgloss.Style) *Styles {
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
	s := &Styles{
		Text: on(r.NewStyle()), Dim: fg(dim), Faint: fg(faint), Title: on(r.NewStyle().Bold(true)), Accent: fg(accent),
		Good: fg(good), Busy: fg(busy), Warn: fg(warn), Bad: fg(bad),
		Tab: fg(dim), TabOn: fg(accent).Bold(true), Brand: r.NewStyle().Bold(true).Foreground(ink).Background(accent),
		Key: fg(accent), Banner: r.NewStyle().Bold(true).Foreground(ink).Background(warn), Input: fg(accent).Bold(true),
		border: fg(faint), BorderOn: fg(accent),
		Added: fg(good), Removed: fg(bad), Changed: fg(warn),
		Palette: []lipgloss.Style{fg(accent), fg(good), fg(violet), fg(warn), fg(busy), fg(bad)},
	}
	return s
}

// On returns the styles of a row that is selected or not.
func (s *Styles) On(selected bool) *Styles {
	if selected {
		return s.selected
	}
	return s
}

// Level returns the style of a level.
func (s *Styles) Level(l Level) lipgloss.Style {
	switch l {
	case Good:
		return s.Good
	case Busy:
		return s.Busy
	case Warn:
		return s.Warn
	case Bad:
		return s.Bad
	}
	return s.Dim
}

// Dot draws a level as a mark, whose shape tells the level where there are no colours.
func (s *Styles) Dot(l Level) string {
	switch l {
	case Good:
		return s.Good.Render("●")
	case Busy:
		return s.Busy.Render("◐")
	case Warn:
		return s.Warn.Render("▲")
	case Bad:
		return s.Bad.Render("✖")
	}
	return s.Dim.Render("○")
}

// Load returns the style of a share of a capacity, which is alarming when little is left.
func (s *Styles) Load(share float64) lipgloss.Style {
	switch {
	case share >= 0.9:
		return s.Bad
	case share >= 0.75:
		return s.Warn
	}
	return s.Accent
}

// Gauge draws a share as a line of w cells, thick up to the share and thin after it.
func (s *Styles) Gauge(share float64, w int) string {
	if w <= 0 {
		return ""
	}
	n := min(w, max(0, int(share*float64(w)+0.5)))
	if n == 0 && share > 0 {
		n = 1
	}
	return s.Load(share).Render(strings.Repeat("━", n)) + s.Faint.Render(strings.Repeat("─", w-n))
}

// Part is a piece of a stacked bar.
type Part struct {
	N     int
	Glyph string
	Style lipgloss.Style
}

// Stack draws parts of a whole as one bar of w cells. A part that is not zero takes at least one cell.
func (s *Styles) Stack(whole, w int, parts ...Part) string {
	if w <= 0 {
		return ""
	}
	if whole <= 0 {
		return s.Faint.Render(strings.Repeat("·", w))
	}
	var b strings.Builder
	done, sum := 0, 0
	for _, p := range parts {
		sum += p.N
		end := min(w, sum*w/whole)
		if p.N > 0 && end == done && end < w {
			end++ // at least one cell
		}
		if end > done {
			b.WriteString(p.Style.Render(strings.Repeat(p.Glyph, end-done)))
			done = end
		}
	}
	if done < w {
		b.WriteString(s.Faint.Render(strings.Repeat("·", w-done)))
	}
	return b.String()
}

const sparks = "▁▂▃▄▅▆▇█"

// Spark draws the last w values as columns, the highest of which stands for top. A negative value is a gap.
func Spark(values []float64, top float64, w int) string {
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

// Panel draws a frame around content, with a title at the left of the upper edge and, if there is room, a note at its
// right. The title is text from anywhere, content and note may hold styles.
func (s *Styles) Panel(title, note, content string, a Area, focused bool) string {
	if a.W < 4 || a.H < 3 {
		return Block(content, a)
	}
	edge, head := s.border, s.Title
	if focused {
		edge, head = s.BorderOn, s.TabOn
	}
	inner := a.Inner()
	title = Cut(Clean(title), a.W-6)
	left := edge.Render("╭─ ") + head.Render(title) + " "
	right := edge.Render("─╮")
	if room := a.W - Width(left) - 4; note != "" && room > Width(note)+2 {
		right = " " + s.Dim.Render(note) + edge.Render(" ─╮")
	}
	fill := max(0, a.W-Width(left)-Width(right))
	lines := []string{left + edge.Render(strings.Repeat("─", fill)) + right}
	for l := range strings.SplitSeq(Block(content, inner), "\n") {
		lines = append(lines, edge.Render("│")+" "+l+" "+edge.Render("│"))
	}
	lines = append(lines, edge.Render("╰"+strings.Repeat("─", a.W-2)+"╯"))
	return strings.Join(lines, "\n")
}

// Skeleton stands for content that is being loaded. Each frame turns the spinner one step further.
func (s *Styles) Skeleton(what string, frame int, a Area) string {
	spin := []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}
	lines := []string{s.Accent.Render(spin[frame%len(spin)]) + s.Dim.Render(" "+what)}
	for i := 1; i < min(a.H-1, 9); i++ {
		w := max(1, (a.W-2)*(9-i*2%7)/12)
		lines = append(lines, "  "+s.Faint.Render(strings.Repeat("░", min(w, max(0, a.W-2)))))
	}
	return Block(strings.Join(lines, "\n"), a)
}

// Empty fills an area that has no content with what is missing and a hint on what to do.
func (s *Styles) Empty(what, hint string, a Area) string {
	var lines []string
	for range max(0, a.H/3-1) {
		lines = append(lines, "")
	}
	for _, l := range Wrap(what, a.W-2) {
		lines = append(lines, center(s.Text.Render(l), a.W))
	}
	for _, l := range Wrap(hint, a.W-2) {
		lines = append(lines, center(s.Dim.Render(l), a.W))
	}
	return Block(strings.Join(lines, "\n"), a)
}

func center(s string, w int) string {
	return strings.Repeat(" ", max(0, (w-Width(s))/2)) + s
}

// Percent writes a share as a whole percentage.
func Percent(part, whole int64) string {
	if whole <= 0 {
		return "–"
	}
	return fmt.Sprintf("%d%%", part*100/whole)
}
