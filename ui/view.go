package ui

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// View implements tea.Model. It changes nothing: the same state gives the same frame.
func (m *Model) View() string {
	if m.size.W < 20 || m.size.H < 6 {
		return kit.Block("kl needs a larger window", m.size)
	}
	a := m.bodyArea()
	body := kit.Block(m.body(a), a)
	if m.state.snap.Stale() {
		body = m.greyed(body)
	}
	parts := []string{m.header(), m.tabs()}
	if m.bodyTop() == 3 {
		parts = append(parts, m.banner())
	}
	frame := strings.Join(append(parts, body, m.footer()), "\n")
	if m.dialog != nil {
		box := m.dialog.View(m.st, m.dialogArea())
		bw, bh := kit.Width(strings.SplitN(box, "\n", 2)[0]), strings.Count(box, "\n")+1
		frame = kit.Over(frame, box, (m.size.W-bw)/2, max(1, (m.size.H-bh)/3))
	}
	return frame
}

// body draws the screen on top.
func (m *Model) body(a kit.Area) string {
	if m.failed != "" && m.conn == nil {
		return m.st.Empty("Cannot open this cluster", m.failed+" · press c to choose another", a)
	}
	return m.top().view(m.st, a)
}

// greyed removes the colours of a body that shows stale data.
func (m *Model) greyed(body string) string {
	lines := strings.Split(ansi.Strip(body), "\n")
	for i, l := range lines {
		lines[i] = m.st.Dim.Render(l)
	}
	return strings.Join(lines, "\n")
}

// bodyArea is the area of the screen on top.
func (m *Model) bodyArea() kit.Area { return kit.Area{W: m.size.W, H: m.size.H - m.bodyTop() - 1} }

// dialogArea is the area that a dialog may cover.
func (m *Model) dialogArea() kit.Area { return kit.Area{W: m.size.W, H: m.size.H - 2} }

// bodyTop is the line that the body begins at.
func (m *Model) bodyTop() int {
	if m.state.snap.Conn.State != observe.Live && m.state.snap.Conn.Err != "" {
		return 3
	}
	return 2
}

// banner says that there is no connection, and since when.
func (m *Model) banner() string {
	c := m.state.snap.Conn
	text := " ▲ no connection: " + c.Err
	if c.State == observe.Lost {
		text = fmt.Sprintf(" ▲ connection lost %s ago: %s · what you see is stale", observe.Span(m.state.now.Sub(c.Since)), c.Err)
	}
	if wait := c.Retry.Sub(m.state.now); wait > 0 {
		text += fmt.Sprintf(" · retry in %s", observe.Span(wait))
	} else {
		text += " · retrying"
	}
	return m.st.Banner.Render(kit.Fit(kit.Clean(text), m.size.W))
}
