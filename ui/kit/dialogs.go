package kit

import (
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
)

// Dialog is a box on top of a screen that takes all keys until it is closed. One that depends on the size of the window
// is a Resizer too.
type Dialog interface {
	// Update handles a message; closed means that the dialog has been answered or left.
	Update(msg tea.Msg) (cmd tea.Cmd, closed bool)
	// View draws the box, which is never larger than the area.
	View(st *Styles, a Area) string
}

// Resizer computes what depends on the area: scroll positions and widths. Resize is called after every update and before
// View, which therefore changes nothing.
type Resizer interface{ Resize(a Area) }

var (
	_ Dialog = (*Confirm)(nil)
	_ Dialog = (*Slider)(nil)
)

// Confirm asks before something is changed.
type Confirm struct {
	Title string
	Lines []string
	Verb  string  // what yes does: "restart"
	Grave bool    // the change destroys something: enter is not enough for a yes
	Then  tea.Cmd // run on yes
}

// Update implements Dialog.
func (c *Confirm) Update(msg tea.Msg) (tea.Cmd, bool) {
	key, ok := msg.(tea.KeyMsg)
	if !ok {
		return nil, false
	}
	switch key.String() {
	case "y", "enter":
		if c.Grave && key.String() == "enter" {
			return nil, false
		}
		return c.Then, true
	case "n", "q", "esc", "ctrl+c":
		return nil, true
	}
	return nil, false
}

// View implements Dialog.
func (c *Confirm) View(st *Styles, a Area) string {
	w := max(44, Width(c.Title)+8)
	for _, l := range c.Lines {
		w = max(w, Width(l)+6)
	}
	w = min(w, a.W-4, 100)
	var body []string
	for _, l := range c.Lines {
		body = append(body, Wrap(l, w-4)...)
	}
	yes := st.Good
	if c.Grave {
		yes = st.Bad
	}
	body = append(body, "", yes.Bold(true).Render("y")+st.Text.Render(" "+c.Verb)+"   "+st.Key.Render("n")+st.Dim.Render(" cancel"))
	return st.Panel(c.Title, "", strings.Join(body, "\n"), Area{w, min(a.H, len(body)+2)}, true)
}

// Slider sets a number between 0 and Max by moving, and shows what the number means.
type Slider struct {
	Title   string
	Value   int
	Max     int
	Meaning func(value int) string
	Then    func(value int) tea.Cmd
}

// Update implements Dialog.
func (s *Slider) Update(msg tea.Msg) (tea.Cmd, bool) {
	key, ok := msg.(tea.KeyMsg)
	if !ok {
		return nil, false
	}
	switch key.String() {
	case "left", "h", "-":
		s.Value = max(0, s.Value-1)
	case "right", "l", "+":
		s.Value = min(s.Max, s.Value+1)
	case "home", "0":
		s.Value = 0
	case "end":
		s.Value = s.Max
	case "enter", "y":
		return s.Then(s.Value), true
	case "esc", "q", "n", "ctrl+c":
		return nil, true
	}
	return nil, false
}

// View implements Dialog.
func (s *Slider) View(st *Styles, a Area) string {
	w := min(a.W-4, 60)
	bar := w - 12
	at := 0
	if s.Max > 0 {
		at = s.Value * (bar - 1) / s.Max
	}
	line := st.Accent.Render(strings.Repeat("━", at)) + st.Title.Render("◆") + st.Faint.Render(strings.Repeat("─", bar-1-at))
	body := []string{"", fmt.Sprintf("%3d %s %d", s.Value, line, s.Max), ""}
	body = append(body, Wrap(s.Meaning(s.Value), w-4)...)
	return st.Panel(s.Title, "←→ move  ↵ set  esc cancel", strings.Join(body, "\n"), Area{w, min(a.H, len(body)+2)}, true)
}
