package ui

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/charmbracelet/bubbles/cursor"
	"github.com/charmbracelet/bubbles/textinput"
	tea "github.com/charmbracelet/bubbletea"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// dialog is a box on top of everything that takes all keys until it is closed.
type dialog interface {
	update(msg tea.Msg) (cmd tea.Cmd, closed bool)
	view(st *styles, a area) string // at most as large as the area
}

var (
	_ dialog = (*confirm)(nil)
	_ dialog = (*prompt)(nil)
	_ dialog = (*picker)(nil)
	_ dialog = (*slider)(nil)
	_ dialog = (*helpBox)(nil)
)

// refusal words an API server's refusal as such.
func refusal(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return "refused: " + err.Error()
	case apierrors.IsConflict(err):
		return "somebody else changed it meanwhile: " + err.Error()
	}
	return err.Error()
}

// confirm asks before something is changed.
type confirm struct {
	title string
	lines []string
	verb  string // what yes means: "restart"
	grave bool   // destroys something: yes must be typed as Y
	then  tea.Cmd
}

func (c *confirm) update(msg tea.Msg) (tea.Cmd, bool) {
	key, ok := msg.(tea.KeyMsg)
	if !ok {
		return nil, false
	}
	switch key.String() {
	case "y", "enter":
		if c.grave && key.String() == "enter" {
			return nil, false
		}
		return c.then, true
	case "n", "q", "esc", "ctrl+c":
		return nil, true
	}
	return nil, false
}

func (c *confirm) view(st *styles, a area) string {
	w := max(44, width(c.title)+8)
	for _, l := range c.lines {
		w = max(w, width(l)+6)
	}
	w = min(w, a.w-4, 100)
	var body []string
	for _, l := range c.lines {
		body = append(body, wrap(l, w-4)...)
	}
	yes := st.good
	if c.grave {
		yes = st.bad
	}
	body = append(body, "", yes.Bold(true).Render("y")+st.text.Render(" "+c.verb)+"   "+st.key.Render("n")+st.dim.Render(" leave it"))
	return st.panel(c.title, "", strings.Join(body, "\n"), area{w, min(a.h, len(body)+2)}, true)
}

// prompt asks for one line.
type prompt struct {
	title, hint string
	input       textinput.Model
	check       func(string) error
	then        func(string) tea.Cmd
	err         string
}

// newInput is a text input whose cursor does not blink: nothing on the screen moves unless something happened.
func newInput() textinput.Model {
	in := textinput.New()
	in.Cursor.SetMode(cursor.CursorStatic)
	return in
}

func newPrompt(title, hint, value string, check func(string) error, then func(string) tea.Cmd) *prompt {
	in := newInput()
	in.Prompt = "› "
	in.SetValue(value)
	in.CursorEnd()
	in.Focus()
	return &prompt{title: title, hint: hint, input: in, check: check, then: then}
}

func (p *prompt) update(msg tea.Msg) (tea.Cmd, bool) {
	if key, ok := msg.(tea.KeyMsg); ok {
		switch key.String() {
		case "esc", "ctrl+c":
			return nil, true
		case "enter":
			v := strings.TrimSpace(p.input.Value())
			if p.check != nil {
				if err := p.check(v); err != nil {
					p.err = err.Error()
					return nil, false
				}
			}
			return p.then(v), true
		}
	}
	p.err = ""
	var cmd tea.Cmd
	p.input, cmd = p.input.Update(msg)
	return cmd, false
}

func (p *prompt) view(st *styles, a area) string {
	w := min(a.w-4, 64)
	p.input.Width = w - 8
	note := st.dim.Render(p.hint)
	if p.err != "" {
		note = st.bad.Render(p.err)
	}
	body := []string{p.input.View(), "", note}
	return st.panel(p.title, "↵ ok  esc leave", strings.Join(body, "\n"), area{w, min(a.h, 5)}, true)
}

// number accepts whole numbers between low and high.
func number(low, high int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return fmt.Errorf("a number from %d to %d", low, high)
		}
		return nil
	}
}

// choice is one line of a picker.
type choice struct {
	name, note string
	also       string // further words it is found by
	current    bool
	then       tea.Cmd
}

// picker finds one of many by typing a part of it. The palette, the namespaces, the clusters and the resources use it.
type picker struct {
	title   string
	input   textinput.Model
	choices []choice
	found   []int
	table   table
	free    func(string) tea.Cmd // what to do with a text that names nothing; nil: nothing
	again   func() []choice      // the choices anew, once the server has said what it serves; nil: they stay
}

func newPicker(title, placeholder string, choices []choice) *picker {
	in := newInput()
	in.Prompt = "› "
	in.Placeholder = placeholder
	in.Focus()
	p := &picker{title: title, input: in, choices: choices}
	p.table.setCols([]column{{title: "", min: 8, grow: true}, {title: "", min: 8, max: 40, drop: 1}})
	p.find()
	for i, at := range p.found {
		if choices[at].current {
			p.table.cursor = i
		}
	}
	return p
}

// refresh takes the choices anew and keeps what was typed.
func (p *picker) refresh() {
	if p.again != nil {
		p.choices = p.again()
		p.find()
	}
}

// find ranks the choices: exact, then prefix, then anywhere in name or note, each in the given order.
func (p *picker) find() {
	want := strings.ToLower(strings.TrimSpace(p.input.Value()))
	rank := func(c choice) int {
		name := strings.ToLower(c.name)
		also := strings.Fields(strings.ToLower(c.also))
		switch {
		case want == "":
			return 1
		case name == want || slices.Contains(also, want):
			return 0
		case strings.HasPrefix(name, want):
			return 1
		case strings.Contains(name, want):
			return 2
		case strings.Contains(strings.ToLower(c.note+" "+c.also), want):
			return 3
		case subsequence(name, want):
			return 4
		}
		return -1
	}
	p.found = p.found[:0]
	for r := range 5 {
		for i, c := range p.choices {
			if rank(c) == r {
				p.found = append(p.found, i)
			}
		}
	}
	found := p.found
	p.table.setRows(len(found), func(i int) string { return strconv.Itoa(found[i]) }, func(i int) []cell {
		c := p.choices[found[i]]
		name := txt(c.name)
		if c.current {
			name.text += " ✓"
		}
		return []cell{name, soft(c.note)}
	})
	p.table.cursor = 0
}

func subsequence(s, want string) bool {
	rest := []rune(want)
	for _, r := range s {
		if len(rest) > 0 && r == rest[0] {
			rest = rest[1:]
		}
	}
	return len(rest) == 0
}

func (p *picker) update(msg tea.Msg) (tea.Cmd, bool) {
	key, ok := msg.(tea.KeyMsg)
	if !ok {
		var cmd tea.Cmd
		p.input, cmd = p.input.Update(msg)
		return cmd, false
	}
	switch key.String() {
	case "esc", "ctrl+c":
		return nil, true
	case "up", "ctrl+p", "shift+tab":
		p.table.move(-1)
	case "down", "ctrl+n":
		p.table.move(1)
	case "pgup":
		p.table.move(-p.table.height)
	case "pgdown":
		p.table.move(p.table.height)
	case "tab": // complete
		if len(p.found) > 0 {
			p.input.SetValue(p.choices[p.found[p.table.cursor]].name)
			p.input.CursorEnd()
			p.find()
		}
	case "enter":
		if len(p.found) > 0 {
			return p.choices[p.found[p.table.cursor]].then, true
		}
		if p.free != nil {
			return p.free(p.input.Value()), true
		}
	default:
		before := p.input.Value()
		var cmd tea.Cmd
		p.input, cmd = p.input.Update(msg)
		if p.input.Value() != before {
			p.find()
		}
		return cmd, false
	}
	return nil, false
}

func (p *picker) view(st *styles, a area) string {
	w := min(a.w-2, 72)
	h := min(a.h, min(len(p.choices), 16)+5)
	p.input.Width = w - 8
	list := p.table.view(st, area{w - 4, max(0, h-3)}, 0, true)
	if _, rest, ok := strings.Cut(list, "\n"); ok { // without the line of empty titles
		list = rest
	}
	if len(p.found) == 0 {
		list = st.dim.Render("nothing like that")
	}
	note := fmt.Sprintf("%d of %d", len(p.found), len(p.choices))
	return st.panel(p.title, note, p.input.View()+"\n"+list, area{w, h}, true)
}

// slider sets a number between 0 and top by moving, showing what it means.
type slider struct {
	title   string
	value   int
	top     int
	meaning func(int) string
	then    func(int) tea.Cmd
}

func (s *slider) update(msg tea.Msg) (tea.Cmd, bool) {
	key, ok := msg.(tea.KeyMsg)
	if !ok {
		return nil, false
	}
	switch key.String() {
	case "left", "h", "-":
		s.value = max(0, s.value-1)
	case "right", "l", "+":
		s.value = min(s.top, s.value+1)
	case "home", "0":
		s.value = 0
	case "end":
		s.value = s.top
	case "enter", "y":
		return s.then(s.value), true
	case "esc", "q", "n", "ctrl+c":
		return nil, true
	}
	return nil, false
}

func (s *slider) view(st *styles, a area) string {
	w := min(a.w-4, 60)
	bar := w - 12
	at := 0
	if s.top > 0 {
		at = s.value * (bar - 1) / s.top
	}
	line := st.accent.Render(strings.Repeat("━", at)) + st.title.Render("◆") + st.faint.Render(strings.Repeat("─", bar-1-at))
	body := []string{"", fmt.Sprintf("%3d %s %d", s.value, line, s.top), ""}
	body = append(body, wrap(s.meaning(s.value), w-4)...)
	return st.panel(s.title, "←→ move  ↵ set  esc leave", strings.Join(body, "\n"), area{w, min(a.h, len(body)+2)}, true)
}

// helpBox lists the keys, from the key map.
type helpBox struct {
	groups []group
	offset int
}

func (h *helpBox) update(msg tea.Msg) (tea.Cmd, bool) {
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

func (h *helpBox) view(st *styles, a area) string {
	w := min(a.w, 84)
	colw := w - 4
	two := w >= 76
	if two {
		colw = (w - 6) / 2
	}
	var cols [2][]string
	for i, g := range h.groups {
		at := 0
		if two && i > 0 {
			at = 1
		}
		if len(cols[at]) > 0 {
			cols[at] = append(cols[at], "")
		}
		cols[at] = append(cols[at], st.title.Render(g.title))
		for _, b := range g.keys {
			cols[at] = append(cols[at], st.key.Render(fitRight(b.Help().Key, 9))+"  "+st.text.Render(cut(b.Help().Desc, colw-11)))
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
			l = fit(l, colw) + "  "
			if i < len(cols[1]) {
				l += cols[1][i]
			}
		}
		body = append(body, l)
	}
	room := max(1, a.h-2)
	h.offset = max(0, min(h.offset, len(body)-room))
	shown := body[h.offset:min(len(body), h.offset+room)]
	note := "any key closes"
	if len(body) > room {
		note = "↑↓ more"
	}
	return st.panel("Keys", note, strings.Join(shown, "\n"), area{w, len(shown) + 2}, true)
}
