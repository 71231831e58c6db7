package kit

import (
	"math"

	tea "github.com/charmbracelet/bubbletea"
)

// scroll is a window of height lines over a longer text; the first one shown is line offset. Moves may leave the text:
// the next resize brings the window back.
type scroll struct{ offset, height int }

// Resize sets the height and keeps the window within a text of n lines.
func (s *scroll) Resize(n, height int) {
	s.height = height
	s.offset = max(0, min(s.offset, n-height))
}

// Move scrolls down by a number of lines, or up if it is negative.
func (s *scroll) Move(by int) { s.offset = max(0, s.offset+by) }

// Handle moves the window for the keys and the mouse wheel that scroll, and reports whether msg was one of them.
func (s *scroll) Handle(msg tea.Msg, k MoveKeys) bool {
	switch msg := msg.(type) {
	case tea.KeyMsg:
		switch {
		case k.Up.Match(msg):
			s.Move(-1)
		case k.Down.Match(msg):
			s.Move(1)
		case k.PageUp.Match(msg):
			s.Move(-s.height)
		case k.PageDown.Match(msg):
			s.Move(s.height)
		case k.Home.Match(msg):
			s.offset = 0
		case k.End.Match(msg):
			s.offset = math.MaxInt / 2 // resize brings it back to the last page
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

// visible returns the range of lines shown of a text of n lines.
func (s *scroll) visible(n int) (from, to int) {
	from = max(0, min(s.offset, n-s.height))
	return from, min(n, from+s.height)
}
