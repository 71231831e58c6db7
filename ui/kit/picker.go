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
	Also       string // more words it is found by
	Current    bool
	Then       tea.Cmd // run when it is chosen
}

// Picker finds one choice of many by a part of its name.
type Picker struct {
	Free   func(text string) tea.Cmd // run on enter when nothing matches the text; nil does nothing
	Reload func() []Choice           // returns the choices again for Refresh; nil if they never change

	title   string
	input   textinput.Model
	choices []Choice
	found   []int // indices of the choices that match, best first
	table   Table
}

var (
	_ Dialog  = (*Picker)(nil)
	_ Resizer = (*Picker)(nil)
)

// NewPicker returns a picker with the cursor on the current choice.
func NewPicker(title, placeholder string, choices []Choice) *Picker {
	p := &Picker{title: title, input: NewInput("› "), choices: choices}
	p.input.Placeholder = placeholder
	p.input.Focus()
	p.table.SetCols([]Column{{Title: "", Min: 8, Grow: true}, {Title: "", Min: 8, Max: 40, Drop: 1}})
	p.find()
	for i, at := range p.found {
		if choices[at].Current {
			p.table.Cursor = i
		}
	}
	return p
}

// Refresh reloads the choices and keeps what was typed.
func (p *Picker) Refresh() {
	if p.Reload != nil {
		p.choices = p.Reload()
		p.find()
	}
}

// find ranks the choices: exact, then prefix, then anywhere in name or note, each in the given order.
func (p *Picker) find() {
	want := strings.ToLower(strings.TrimSpace(p.input.Value()))
	p.found = p.found[:0]
	for r := range ranks {
		for i, c := range p.choices {
			if c.rank(want) == r {
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

const ranks = 5 // of matches

// rank says how well a choice matches: 0 is best, -1 is no match.
func (c Choice) rank(want string) int {
	name := strings.ToLower(c.Name)
	switch {
	case want == "":
		return 1
	case name == want || slices.Contains(strings.Fields(strings.ToLower(c.Also)), want):
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

// subsequence reports whether the letters of want occur in s in this order.
func subsequence(s, want string) bool {
	rest := []rune(want)
	for _, r := range s {
		if len(rest) > 0 && r == rest[0] {
			rest = rest[1:]
		}
	}
	return len(rest) == 0
}

// Update implements Dialog.
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

// size is the size of the whole box.
func (p *Picker) size(a Area) Area {
	return Area{min(a.W-2, 72), min(a.H, min(len(p.choices), 16)+5)}
}

// Resize implements Resizer.
func (p *Picker) Resize(a Area) {
	box := p.size(a)
	ResizeInput(&p.input, box.W-8)
	p.table.Resize(Area{box.W - 4, max(0, box.H-3)}, 0)
}

// View implements Dialog.
func (p *Picker) View(st *Styles, a Area) string {
	list := p.table.View(st, true)
	if _, rest, ok := strings.Cut(list, "\n"); ok { // without the line of empty titles
		list = rest
	}
	if len(p.found) == 0 {
		list = st.Dim.Render("nothing matches")
	}
	note := fmt.Sprintf("%d of %d", len(p.found), len(p.choices))
	return st.Panel(p.title, note, p.input.View()+"\n"+list, p.size(a), true)
}
