package kit

import (
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
)

// Pager shows text through a window that scrolls in both directions, with names before a colon in colour.
type Pager struct {
	YAML   bool // the text is YAML: only what can be a key is coloured
	lines  []string
	window Scroll
	column int // the first one shown
}

// SetLines replaces the text and leaves the window where it is.
func (p *Pager) SetLines(lines []string) {
	p.lines = lines
	p.window.Resize(len(lines), p.window.Height)
}

// Empty reports whether there is no text.
func (p *Pager) Empty() bool { return len(p.lines) == 0 }

// Resize says how many lines there is room for.
func (p *Pager) Resize(height int) { p.window.Resize(len(p.lines), height) }

// Handle moves the window for the keys and the wheel that scroll, and reports whether msg was one of them.
func (p *Pager) Handle(msg tea.Msg, k MoveKeys) bool {
	key, ok := msg.(tea.KeyMsg)
	switch {
	case ok && k.Right.Match(key):
		p.column += 8
	case ok && k.Left.Match(key):
		p.column = max(0, p.column-8)
	case ok && key.String() == " ":
		p.window.Move(p.window.Height)
	default:
		return p.window.Handle(msg, k)
	}
	return true
}

// View draws the lines in the window.
func (p *Pager) View(st *Styles) string {
	from, to := p.window.Visible(len(p.lines))
	var lines []string
	for _, l := range p.lines[from:to] {
		lines = append(lines, p.paint(st, shift(Clean(l), p.column)))
	}
	return strings.Join(lines, "\n")
}

// Position says which lines are shown: "1–20 of 75".
func (p *Pager) Position() string {
	from, to := p.window.Visible(len(p.lines))
	return fmt.Sprintf("%d–%d of %d", from+1, to, len(p.lines))
}

// shift leaves out the first x cells.
func shift(s string, x int) string {
	for i := range s {
		if x <= 0 {
			return s[i:]
		}
		x--
	}
	return ""
}

// paint draws a line with the name before a colon, and some values, in colour.
func (p *Pager) paint(st *Styles, l string) string {
	trimmed := strings.TrimLeft(l, " -")
	indent := l[:len(l)-len(trimmed)]
	name, value, ok := strings.Cut(trimmed, ":")
	if !ok || strings.ContainsAny(name, " \"{/") && p.YAML || value != "" && value[0] != ' ' || strings.Contains(name, "  ") {
		return st.Text.Render(l)
	}
	return st.Faint.Render(indent) + st.Accent.Render(name+":") + valueStyle(st, value).Render(value)
}

// valueStyle is the style of a value.
func valueStyle(st *Styles, v string) lipgloss.Style {
	switch strings.TrimSpace(v) {
	case "true", "True", "Running", "Ready":
		return st.Good
	case "false", "False", "null", "<none>", "<unset>":
		return st.Dim
	}
	return st.Text
}
