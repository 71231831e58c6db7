package kit

import (
	"math"

	tea "github.com/charmbracelet/bubbletea"
)

// Scroll is a window over a text that may be longer. A move may leave the text; the next Resize brings the window back.
type Scroll struct {
	Offset int // the first line shown
	Height int // the lines there is room for
}

// Resize sets the height and keeps the window within a text of n lines.
func (s *Scroll) Resize(n, height int) {
	s.Height = height
	s.Offset = max(0, min(s.Offset, n-height))
}

// Move scrolls down by a number of lines, or up if it is negative.
func (s *Scroll) Move(by int) { s.Offset = max(0, s.Offset+by) }

// Handle moves the window for the keys and the mouse wheel that scroll, and reports whether msg was one of them.
func (s *Scroll) Handle(msg tea.Msg, k MoveKeys) bool {
	switch msg := msg.(type) {
	case tea.KeyMsg:
		switch {
		case k.Up.Match(msg):
			s.Move(-1)
		case k.Down.Match(msg):
			s.Move(1)
		case k.PageUp.Match(msg):
			s.Move(-s.Height)
		case k.PageDown.Match(msg):
			s.Move(s.Height)
		case k.Home.Match(msg):
			s.Offset = 0
		case k.End.Match(msg):
			s.Offset = math.MaxInt / 2 // Resize brings it back to the last page
		default:
			return false
		}
		return true
	case tea.MouseMsg:
		switch msg.Button {
		case tea.MouseButtonWheelUp:
			s.Move(-3)
		case tea.MouseButtonWheelDown:
			s.Move(3)
		default:
			return false
		}
		return true
	}
	return false
}

// Visible returns the range of lines shown of a text of n lines.
func (s *Scroll) Visible(n int) (from, to int) {
	from = max(0, min(s.Offset, n-s.Height))
	return from, min(n, from+s.Height)
}
