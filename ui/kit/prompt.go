package kit

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/charmbracelet/bubbles/cursor"
	"github.com/charmbracelet/bubbles/textinput"
	tea "github.com/charmbracelet/bubbletea"
)

// Prompt asks for one line of text.
type Prompt struct {
	title, hint string
	input       textinput.Model
	check       func(string) error
	then        func(string) tea.Cmd
	err         string
}

var (
	_ Dialog  = (*Prompt)(nil)
	_ Resizer = (*Prompt)(nil)
)

// NewInput returns a text input whose cursor does not blink: nothing on the screen moves unless something happened.
func NewInput(prompt string) textinput.Model {
	in := textinput.New()
	in.Prompt = prompt
	in.Cursor.SetMode(cursor.CursorStatic)
	return in
}

// ResizeInput sets how many cells of the text are seen and scrolls to the cursor.
func ResizeInput(in *textinput.Model, w int) {
	if in.Width != w {
		in.Width = w
		in.SetCursor(in.Position())
	}
}

// NewPrompt returns a prompt with a text to begin with. On enter, check says what is wrong with the text, unless it is
// nil; then is run with a text that is right.
func NewPrompt(title, hint, text string, check func(string) error, then func(string) tea.Cmd) *Prompt {
	in := NewInput("› ")
	in.SetValue(text)
	in.CursorEnd()
	in.Focus()
	return &Prompt{title: title, hint: hint, input: in, check: check, then: then}
}

// Update implements Dialog.
func (p *Prompt) Update(msg tea.Msg) (tea.Cmd, bool) {
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

// Resize implements Resizer.
func (p *Prompt) Resize(a Area) { ResizeInput(&p.input, p.width(a)-8) }

func (p *Prompt) width(a Area) int { return min(a.W-4, 64) }

// View implements Dialog.
func (p *Prompt) View(st *Styles, a Area) string {
	note := st.Dim.Render(p.hint)
	if p.err != "" {
		note = st.Bad.Render(p.err)
	}
	body := []string{p.input.View(), "", note}
	return st.Panel(p.title, "↵ ok  esc cancel", strings.Join(body, "\n"), Area{p.width(a), min(a.H, 5)}, true)
}

// Number returns a check that accepts whole numbers from low to high.
func Number(low, high int) func(string) error {
	return func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return fmt.Errorf("enter a number from %d to %d", low, high)
		}
		return nil
	}
}
