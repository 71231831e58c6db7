package ui

import (
	tea "github.com/charmbracelet/bubbletea"
	"github.com/klkube/kl/ui/kit"
)

// splitKeys splits a message into single keys: keys that are typed faster than they are read arrive together. A paste is
// text, not keys, and is dropped unless text is being entered.
func (m *Model) splitKeys(msg tea.KeyMsg) []tea.KeyMsg {
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

// key routes a key to the dialog, to the filter, to what works everywhere or to the screen on top, in this order.
func (m *Model) key(msg tea.KeyMsg) tea.Cmd {
	k := m.keymap
	if m.dialog != nil {
		return m.updateDialog(msg)
	}
	if m.filtering {
		return m.typeFilter(msg)
	}
	switch {
	case k.quit.Match(msg):
		return m.quit()
	case k.help.Match(msg):
		m.dialog = &kit.Help{Groups: []kit.Group{k.global(), {Title: m.top().title(), Keys: m.top().keys()}, k.list()}}
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

// back clears the filter if there is one, else closes the screen on top, else removes the toast.
func (m *Model) back() {
	switch {
	case m.state.filter != "":
		m.clearFilter()
		m.refresh()
	case len(m.stack) > 0:
		m.pop()
	case m.toast.text != "":
		m.toast = toastMsg{}
	}
}

// typeFilter handles a key while the filter is being typed.
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
		m.state.filter = m.filter.Value()
	}
	m.refresh()
	return cmd
}

// mouse handles clicks on the tabs and passes other events to the screen on top, relative to its area.
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
