package ui

import (
	"slices"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/ui/kit"
)

// reset closes all screens and makes new ones for another cluster.
func (m *Model) reset() {
	m.closeScreens()
	m.stack = nil
	m.main = []screen{newOverview(m), newRollouts(m), newPolicies(m), newMetrics(m), newWorkloads(m),
		newNodes(m, m.opts.NodeVerb, m.opts.NodeShell), newAudit(m)}
}

// screens are the main screens and those opened from the active one.
func (m *Model) screens() []screen { return slices.Concat(m.main, m.stack) }

// top is the screen that is shown.
func (m *Model) top() screen {
	if n := len(m.stack); n > 0 {
		return m.stack[n-1]
	}
	return m.main[m.active]
}

// keys implements shell.
func (m *Model) keys() *keyMap { return m.keymap }

// session implements shell.
func (m *Model) session() *session { return m.conn }

// now implements shell.
func (m *Model) now() time.Time { return m.opts.clock() }

// ask implements shell.
func (m *Model) ask(d kit.Dialog) tea.Cmd {
	m.dialog = d
	return nil
}

// push implements shell. It is the only way to open a screen: the screen gets the state, is shown and is started.
func (m *Model) push(s screen) tea.Cmd {
	m.stack = append(m.stack, s)
	m.clearFilter()
	m.refresh()
	return m.start(s)
}

// start lets a screen fetch what it shows.
func (m *Model) start(s screen) tea.Cmd {
	if st, ok := s.(starter); ok && m.conn != nil {
		return st.start()
	}
	return nil
}

// pop closes the screen on top and shows the one below.
func (m *Model) pop() {
	n := len(m.stack)
	if n == 0 {
		return
	}
	closeScreen(m.stack[n-1])
	m.stack = m.stack[:n-1]
	m.clearFilter()
	m.refresh()
}

// show closes the screens on top of the active one and shows main screen i, modulo their number.
func (m *Model) show(i int) {
	for len(m.stack) > 0 {
		m.pop()
	}
	m.active = (i + len(m.main)) % len(m.main)
	m.clearFilter()
	m.refresh()
}

func closeScreen(s screen) {
	if c, ok := s.(closer); ok {
		c.close()
	}
}

func (m *Model) closeScreens() {
	for _, s := range m.screens() {
		closeScreen(s)
	}
}

func (m *Model) quit() tea.Cmd {
	m.closeScreens()
	return tea.Quit
}

func (m *Model) clearFilter() {
	m.state.filter, m.filtering = "", false
	m.filter.SetValue("")
	m.filter.Blur()
}

// navigate handles the messages that open or close something; ok is false if msg is not one of them.
func (m *Model) navigate(msg tea.Msg) (cmd tea.Cmd, ok bool) {
	switch msg := msg.(type) {
	case pushMsg:
		return m.push(msg.screen), true
	case localMsg:
		return tea.ExecProcess(msg.command, ended), true
	case execMsg:
		return tea.Exec(msg.command, msg.ended), true
	case showMsg:
		m.show(msg.screen)
	case dialogMsg:
		m.dialog = msg.dialog
	case toastMsg:
		m.say(msg, 8*time.Second)
	case namespaceMsg:
		m.state.namespace = msg.name
		if only := m.state.snap.Only; only != "" && msg.name != "" && msg.name != only && !m.opts.Only {
			m.conn.source.Narrow(msg.name) // the user may not list those of all namespaces at once
		}
		m.refresh()
	default:
		return nil, false
	}
	return nil, true
}
