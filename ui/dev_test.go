package ui

import (
	"strings"
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"

	"github.com/klkube/kl/ui/kit"
)

// TestDevModel: lines that change are drawn below, each in one line of the terminal, and others are printed above once.
func TestDevModel(t *testing.T) {
	m := &devModel{st: testStyles(termenv.Ascii, true), width: 80}
	if got := ansi.Strip(m.View()); got != "waiting for a build …\n" {
		t.Errorf("at first: %q", got)
	}
	const line = "web  app:dev sha256:111111111111  1/2 pods  0.8 s"
	for _, tt := range []struct{ width, want int }{{0, len(line)}, {120, len(line)}, {20, 20}} {
		m.Update(tea.WindowSizeMsg{Width: tt.width})
		if _, cmd := m.Update(devMsg{active: []string{line, line}}); cmd != nil {
			t.Errorf("width %d: it prints", tt.width)
		}
		lines := strings.Split(strings.TrimSuffix(ansi.Strip(m.View()), "\n"), "\n")
		if len(lines) != 2 || kit.Width(lines[0]) != tt.want {
			t.Errorf("width %d: %q", tt.width, lines)
		}
	}
	if _, cmd := m.Update(devMsg{lines: []string{"ready"}}); cmd == nil {
		t.Error("a line is not printed")
	}
	for _, key := range []tea.KeyMsg{{Type: tea.KeyCtrlC}, {Type: tea.KeyEsc}, {Type: tea.KeyRunes, Runes: []rune("q")}} {
		if _, cmd := m.Update(key); cmd == nil || cmd() != tea.Quit() {
			t.Errorf("%s does not end it", key)
		}
	}
}
