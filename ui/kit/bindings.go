package kit

import (
	"slices"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
)

// Binding is a key, or several that do the same, with the words that the help shows.
type Binding struct{ key.Binding }

// Bind returns a binding of keys; the help shows it as help, with desc beside it.
func Bind(help, desc string, keys ...string) Binding {
	return Binding{key.NewBinding(key.WithKeys(keys...), key.WithHelp(help, desc))}
}

// Match reports whether msg is one of the binding's keys.
func (b Binding) Match(msg tea.KeyMsg) bool { return slices.Contains(b.Keys(), msg.String()) }

// Press returns the message of the binding's first key.
func (b Binding) Press() tea.KeyMsg { return KeyPress(b.Keys()[0]) }

// Group is a titled list of bindings.
type Group struct {
	Title string
	Keys  []Binding
}

// MoveKeys move a cursor through a list, or a window over a text.
type MoveKeys struct {
	Up, Down, PageUp, PageDown, Home, End, Left, Right Binding
}

// NewMoveKeys returns the arrow keys with their equivalents from vi, less and Emacs.
func NewMoveKeys() MoveKeys {
	return MoveKeys{
		Up: Bind("↑/k", "up", "up", "k"), Down: Bind("↓/j", "down", "down", "j"),
		PageUp: Bind("pgup", "page up", "pgup", "ctrl+b", "ctrl+u"), PageDown: Bind("pgdn", "page down", "pgdown", "ctrl+f", "ctrl+d"),
		Home: Bind("g", "first", "home", "g"), End: Bind("G", "last", "end", "G"),
		Left: Bind("←/h", "left", "left", "h"), Right: Bind("→/l", "right", "right", "l"),
	}
}

// KeyPress returns the message of a key by its name: "enter", "down", "x".
func KeyPress(name string) tea.KeyMsg {
	named := map[string]tea.KeyType{"enter": tea.KeyEnter, "left": tea.KeyLeft, "right": tea.KeyRight, "up": tea.KeyUp,
		"down": tea.KeyDown, "tab": tea.KeyTab, "shift+tab": tea.KeyShiftTab, "esc": tea.KeyEsc, "pgup": tea.KeyPgUp,
		"pgdown": tea.KeyPgDown, "home": tea.KeyHome, "end": tea.KeyEnd, "backspace": tea.KeyBackspace, "ctrl+c": tea.KeyCtrlC}
	if t, ok := named[name]; ok {
		return tea.KeyMsg{Type: t}
	}
	if name == " " || name == "space" {
		return tea.KeyMsg{Type: tea.KeySpace, Runes: []rune{' '}}
	}
	return tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(name)}
}
