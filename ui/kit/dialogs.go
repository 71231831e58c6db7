package kit

import (
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
)

// Dialog is a box on top of everything that takes all keys until it is closed.
type Dialog interface {
	Update(msg tea.Msg) (cmd tea.Cmd, closed bool)
	View(st *Styles, a Area) string // at most as large as the area
}

var (
	_ Dialog = (*Confirm)(nil)
	_ Dialog = (*prompt)(nil)
	_ Dialog = (*Picker)(nil)
	_ Dialog = (*Slider)(nil)
	_ Dialog = (*Help)(nil)
)

// Confirm asks before something is changed.
type Confirm struct {
	Title string
	Lines []string
	Verb  string // what yes means: "restart"
	Grave bool   // destroys something: yes must be typed as Y
	Then  tea.Cmd
}

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
	body = append(body, "", yes.Bold(true).Render("y")+st.Text.Render(" "+c.Verb)+"   "+st.Key.Render("n")+st.Dim.Render(" leave it"))
	return st.Panel(c.Title, "", strings.Join(body, "\n"), Area{w, min(a.H, len(body)+2)}, true)
}

// Slider sets a number between 0 and top by moving, showing what it means.
type Slider struct {
	Title   string
	Value   int
	Top     int
	Meaning func(int) string
	Then    func(int) tea.Cmd
}

func (s *Slider) Update(msg tea.Msg) (tea.Cmd, bool) {
	key, ok := msg.(tea.KeyMsg)
	if !ok {
		return nil, false
	}
	switch key.String() {
	case "left", "h", "-":
		s.Value = max(0, s.Value-1)
	case "right", "l", "+":
		s.Value = min(s.Top, s.Value+1)
	case "home", "0":
		s.Value = 0
	case "end":
		s.Value = s.Top
	case "enter", "y":
		return s.Then(s.Value), true
	case "esc", "q", "n", "ctrl+c":
		return nil, true
	}
	return nil, false
}

func (s *Slider) View(st *Styles, a Area) string {
	w := min(a.W-4, 60)
	bar := w - 12
	at := 0
	if s.Top > 0 {
		at = s.Value * (bar - 1) / s.Top
	}
	line := st.Accent.Render(strings.Repeat("━", at)) + st.Title.Render("◆") + st.Faint.Render(strings.Repeat("─", bar-1-at))
	body := []string{"", fmt.Sprintf("%3d %s %d", s.Value, line, s.Top), ""}
	body = append(body, Wrap(s.Meaning(s.Value), w-4)...)
	return st.Panel(s.Title, "←→ move  ↵ set  esc leave", strings.Join(body, "\n"), Area{w, min(a.H, len(body)+2)}, true)
}
