package kit

import (
	"strings"

	tea "github.com/charmbracelet/bubbletea"
)

// Help lists the keys, from the key map.
type Help struct {
	Groups []Group
	offset int
}

func (h *Help) Update(msg tea.Msg) (tea.Cmd, bool) {
	key, ok := msg.(tea.KeyMsg)
	if !ok {
		return nil, false
	}
	switch key.String() {
	case "down", "j":
		h.offset++
	case "up", "k":
		h.offset = max(0, h.offset-1)
	case "pgdown", " ":
		h.offset += 10
	case "pgup":
		h.offset = max(0, h.offset-10)
	default:
		return nil, true
	}
	return nil, false
}

func (h *Help) View(st *Styles, a Area) string {
	w := min(a.W, 84)
	colw := w - 4
	two := w >= 76
	if two {
		colw = (w - 6) / 2
	}
	var cols [2][]string
	for i, g := range h.Groups {
		at := 0
		if two && i > 0 {
			at = 1
		}
		if len(cols[at]) > 0 {
			cols[at] = append(cols[at], "")
		}
		cols[at] = append(cols[at], st.Title.Render(g.Title))
		for _, b := range g.Keys {
			cols[at] = append(cols[at], st.Key.Render(FitRight(b.Help().Key, 9))+"  "+st.Text.Render(Cut(b.Help().Desc, colw-11)))
		}
	}
	n := max(len(cols[0]), len(cols[1]))
	var body []string
	for i := range n {
		l := ""
		if i < len(cols[0]) {
			l = cols[0][i]
		}
		if two {
			l = Fit(l, colw) + "  "
			if i < len(cols[1]) {
				l += cols[1][i]
			}
		}
		body = append(body, l)
	}
	room := max(1, a.H-2)
	h.offset = max(0, min(h.offset, len(body)-room))
	shown := body[h.offset:min(len(body), h.offset+room)]
	note := "any key closes"
	if len(body) > room {
		note = "↑↓ more"
	}
	return st.Panel("Keys", note, strings.Join(shown, "\n"), Area{w, len(shown) + 2}, true)
}
