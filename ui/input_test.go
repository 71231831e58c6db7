package ui

import (
	"testing"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/klkube/kl/ui/kit"
	"github.com/muesli/termenv"
)

// Keys that are typed faster than they are read arrive in one message.
func TestSeveralKeysInOneMessage(t *testing.T) {
	m := testModel(t, "policies", states()["normal"](), kit.Area{W: 80, H: 24}, testStyles(termenv.Ascii, true))
	part := func() policyPart { return m.main[2].(*policies).part }
	m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("mmm")})
	if part() != partDenials {
		t.Errorf("after three keys at once: view %d", part())
	}
	m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("mq1"), Paste: true})
	if part() != partDenials || m.active != 2 {
		t.Errorf("a paste pressed keys: view %d of screen %d", part(), m.active)
	}
	m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("/sh")})
	m.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("op pay"), Paste: true})
	if m.state.filter != "shop pay" {
		t.Errorf("filter: %q", m.state.filter)
	}
}
