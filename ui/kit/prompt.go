package kit

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/charmbracelet/bubbles/cursor"
	"github.com/charmbracelet/bubbles/textinput"
	tea "github.com/charmbracelet/bubbletea"
)

// prompt asks for one line.
type prompt struct {
	title, hint string
	input       textinput.Model
	check       func(string) error
	then        func(string) tea.Cmd
	err         string
}

// NewInput is a text input whose cursor does not blink: nothing on the screen moves unless something happened.
func NewInput() textinput.Model {
	in := textinput.New()
	in.Cursor.SetMode(cursor.CursorStatic)
	return in
}

func NewPrompt(title, hint, value string, check func(string) error, then func(string) tea.Cmd) *prompt {
	in := NewInput()
	in.Prompt = "› "
	in.SetValue(value)
	in.CursorEnd()
	in.Focus()
	return &prompt{title: title, hint: hint, input: in, check: check, then: then}
}

func (p *prompt) Update(msg tea.Msg) (tea.Cmd, bool) {
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

func (p *prompt) View(st *Styles, a Area) string {
	w := min(a.W-4, 64)
	p.input.Width = w - 8
	note := st.Dim.Render(p.hint)
	if p.err != "" {
		note = st.Bad.Render(p.err)
	}
	body := []string{p.input.View(), "", note}
	return st.Panel(p.title, "↵ ok  esc leave", strings.Join(body, "\n"), Area{w, min(a.H, 5)}, true)
}

// Number accepts whole numbers between low and high.
func Number(low, high int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return fmt.Errorf("a number from %d to %d", low, high)
		}
		return nil
	}
}
