package kit

import (
	"strings"

	tea "github.com/charmbracelet/bubbletea"
)

// Help lists keys.
type Help struct {
	Groups []Group

	window Scroll
}

var (
	_ Dialog  = (*Help)(nil)
	_ Resizer = (*Help)(nil)
)

// Update implements Dialog: some keys scroll, any other closes the box.
func (h *Help) Update(msg tea.Msg) (tea.Cmd, bool) {
	key, ok := msg.(tea.KeyMsg)
	if !ok {
		return nil, false
	}
	switch key.String() {
	case "down", "j":
		h.window.Move(1)
	case "up", "k":
		h.window.Move(-1)
	case "pgdown", " ":
		h.window.Move(10)
	case "pgup":
		h.window.Move(-10)
	default:
		return nil, true
	}
	return nil, false
}

// width is the width of the box, and of a column of keys within it.
func (h *Help) width(a Area) (box, column int, two bool) {
	box = min(a.W, 84)
	if box >= 76 {
		return box, (box - 6) / 2, true
	}
	return box, box - 4, false
}

// column says which of the two columns a group is in: the first group is the longest.
func (h *Help) column(group int, two bool) int {
	if two && group > 0 {
		return 1
	}
	return 0
}

// lines is how many lines the keys take.
func (h *Help) lines(a Area) int {
	_, _, two := h.width(a)
	var n [2]int
	for i, g := range h.Groups {
		at := h.column(i, two)
		if n[at] > 0 {
			n[at]++ // a blank line between groups
		}
		n[at] += 1 + len(g.Keys)
	}
	return max(n[0], n[1])
}

// Resize implements Resizer.
func (h *Help) Resize(a Area) { h.window.Resize(h.lines(a), max(1, a.H-2)) }

// View implements Dialog.
func (h *Help) View(st *Styles, a Area) string {
	w, colw, two := h.width(a)
	var cols [2][]string
	for i, g := range h.Groups {
		at := h.column(i, two)
		if len(cols[at]) > 0 {
			cols[at] = append(cols[at], "")
		}
		cols[at] = append(cols[at], st.Title.Render(g.Title))
		for _, b := range g.Keys {
			cols[at] = append(cols[at], st.Key.Render(FitRight(b.Help().Key, 9))+"  "+st.Text.Render(Cut(b.Help().Desc, colw-11)))
		}
	}
	n := h.lines(a)
	for i := range cols {
		cols[i] = append(cols[i], make([]string, n-len(cols[i]))...)
	}
	from, to := h.window.Visible(n)
	var body []string
	for i := from; i < to; i++ {
		if two {
			body = append(body, Fit(cols[0][i], colw)+"  "+cols[1][i])
		} else {
			body = append(body, cols[0][i])
		}
	}
	note := "any key closes"
	if n > to-from {
		note = "↑↓ more"
	}
	return st.Panel("Keys", note, strings.Join(body, "\n"), Area{w, len(body) + 2}, true)
}
