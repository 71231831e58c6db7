package ui

import (
	tea "github.com/charmbracelet/bubbletea"
	"github.com/klkube/kl/ui/kit"
)

// pressed takes apart what was typed faster than it was read, which comes as one message. What is pasted is text: where none
// is asked for, it presses nothing.
func (m *Model) pressed(msg tea.KeyMsg) []tea.KeyMsg {
	switch typing := m.dialog != nil || m.filtering; {
	case msg.Paste && !typing:
		return nil
	case msg.Paste || msg.Type != tea.KeyRunes || len(msg.Runes) < 2:
		return []tea.KeyMsg{msg}
	}
	out := make([]tea.KeyMsg, len(msg.Runes))
	for i, r := range msg.Runes {
		out[i] = tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}, Alt: msg.Alt && i == 0}
	}
	return out
}

// key routes a key: to the dialog, the filter, what works everywhere, or the screen on top.
func (m *Model) key(msg tea.KeyMsg) tea.Cmd {
	k := m.k
	if m.dialog != nil {
		cmd, closed := m.dialog.Update(msg)
		if closed {
			m.dialog = nil
		}
		return cmd
	}
	if m.filtering {
		return m.typeFilter(msg)
	}
	switch {
	case k.quit.Match(msg):
		return m.quit()
	case k.help.Match(msg):
		groups := []kit.Group{{Title: m.top().title(), Keys: m.top().keys()}, k.list(), k.global()}
		m.dialog = &kit.Help{Groups: []kit.Group{groups[2], groups[0], groups[1]}}
	case k.palette.Match(msg):
		m.dialog = m.commandPalette()
	case k.namespace.Match(msg):
		m.dialog = m.namespacePicker()
	case k.cluster.Match(msg):
		return m.targets
	case k.filter.Match(msg):
		m.filtering = true
		return m.filter.Focus()
	case k.back.Match(msg):
		m.back()
	case k.next.Match(msg):
		m.show(m.active + 1)
	case k.prev.Match(msg):
		m.show(m.active - 1)
	case k.screens.Match(msg):
		m.show(int(msg.String()[0] - '1'))
	default:
		return m.top().update(msg)
	}
	return nil
}

// back undoes the last thing that narrowed the view: the filter, then the screen on top.
func (m *Model) back() {
	switch {
	case m.w.filter != "":
		m.clearFilter()
		m.refresh()
	case len(m.stack) > 0:
		m.pop()
	case m.toast.text != "":
		m.toast = toastMsg{}
	}
}

func (m *Model) typeFilter(msg tea.KeyMsg) tea.Cmd {
	var cmd tea.Cmd
	switch msg.String() {
	case "esc", "ctrl+c":
		m.clearFilter()
	case "enter", "up", "down", "tab":
		m.filtering = false
		m.filter.Blur()
	default:
		m.filter, cmd = m.filter.Update(msg)
		m.w.filter = m.filter.Value()
	}
	m.refresh()
	return cmd
}

func (m *Model) mouse(msg tea.MouseMsg) tea.Cmd {
	if m.dialog != nil {
		return nil
	}
	if msg.Y < 2 {
		if msg.Action == tea.MouseActionPress && msg.Button == tea.MouseButtonLeft && msg.Y == 1 {
			if i := m.tabAt(msg.X); i >= 0 {
				m.show(i)
			}
		}
		return nil
	}
	msg.Y -= m.bodyTop()
	return m.top().update(msg)
}
