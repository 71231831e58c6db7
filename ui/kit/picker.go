package kit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/charmbracelet/bubbles/textinput"
	tea "github.com/charmbracelet/bubbletea"
)

// Choice is one line of a picker.
type Choice struct {
	Name, Note string
	Also       string // further words it is found by
	Current    bool
	Then       tea.Cmd
}

// Picker finds one of many by typing a part of it. The palette, the namespaces, the clusters and the resources use it.
type Picker struct {
	title   string
	input   textinput.Model
	choices []Choice
	found   []int
	table   Table
	Free    func(string) tea.Cmd // what to do with a text that names nothing; nil: nothing
	Again   func() []Choice      // the choices anew, once the server has said what it serves; nil: they stay
}

func NewPicker(title, placeholder string, choices []Choice) *Picker {
	in := NewInput()
	in.Prompt = "› "
	in.Placeholder = placeholder
	in.Focus()
	p := &Picker{title: title, input: in, choices: choices}
	p.table.SetCols([]Column{{Title: "", Min: 8, Grow: true}, {Title: "", Min: 8, Max: 40, Drop: 1}})
	p.find()
	for i, at := range p.found {
		if choices[at].Current {
			p.table.Cursor = i
		}
	}
	return p
}

// Refresh takes the choices anew and keeps what was typed.
func (p *Picker) Refresh() {
	if p.Again != nil {
		p.choices = p.Again()
		p.find()
	}
}

// find ranks the choices: exact, then prefix, then anywhere in name or note, each in the given order.
func (p *Picker) find() {
	want := strings.ToLower(strings.TrimSpace(p.input.Value()))
	rank := func(c Choice) int {
		name := strings.ToLower(c.Name)
		also := strings.Fields(strings.ToLower(c.Also))
		switch {
		case want == "":
			return 1
		case name == want || slices.Contains(also, want):
			return 0
		case strings.HasPrefix(name, want):
			return 1
		case strings.Contains(name, want):
			return 2
		case strings.Contains(strings.ToLower(c.Note+" "+c.Also), want):
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
	p.table.SetRows(len(found), func(i int) string { return strconv.Itoa(found[i]) }, func(i int) []Cell {
		c := p.choices[found[i]]
		name := Text(c.Name)
		if c.Current {
			name.Text += " ✓"
		}
		return []Cell{name, Dim(c.Note)}
	})
	p.table.Cursor = 0
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

func (p *Picker) Update(msg tea.Msg) (tea.Cmd, bool) {
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
		p.table.Move(-1)
	case "down", "ctrl+n":
		p.table.Move(1)
	case "pgup":
		p.table.Move(-p.table.height)
	case "pgdown":
		p.table.Move(p.table.height)
	case "tab": // complete
		if len(p.found) > 0 {
			p.input.SetValue(p.choices[p.found[p.table.Cursor]].Name)
			p.input.CursorEnd()
			p.find()
		}
	case "enter":
		if len(p.found) > 0 {
			return p.choices[p.found[p.table.Cursor]].Then, true
		}
		if p.Free != nil {
			return p.Free(p.input.Value()), true
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

func (p *Picker) View(st *Styles, a Area) string {
	w := min(a.W-2, 72)
	h := min(a.H, min(len(p.choices), 16)+5)
	p.input.Width = w - 8
	list := p.table.View(st, Area{w - 4, max(0, h-3)}, 0, true)
	if _, rest, ok := strings.Cut(list, "\n"); ok { // without the line of empty titles
		list = rest
	}
	if len(p.found) == 0 {
		list = st.Dim.Render("nothing like that")
	}
	note := fmt.Sprintf("%d of %d", len(p.found), len(p.choices))
	return st.Panel(p.title, note, p.input.View()+"\n"+list, Area{w, h}, true)
}
