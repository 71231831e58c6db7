package ui

import (
	"fmt"
	"strconv"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
)

// health is the cluster in one dot and one word.
func health(s *observe.Snapshot) (observe.Level, string) {
	switch {
	case s.Conn.State == observe.Lost:
		return observe.Bad, "lost"
	case s.Conn.State == observe.Connecting:
		return observe.Busy, "connecting"
	case s.KL != nil && s.KL.Phase == cluster.PhaseDegraded:
		return observe.Warn, "degraded"
	case s.KL != nil && s.KL.Phase == cluster.PhaseStarting:
		return observe.Busy, "starting"
	}
	return observe.Good, "live"
}

// header is the first line: which cluster, how it is, which namespace.
func (m *Model) header() string {
	st, s := m.st, m.w.snap
	level, word := health(s)
	left := st.brand.Render(" kl ") + " " + st.title.Render(cut(clean(s.Name), max(8, m.size.w/3))) + " " + st.dot(level) + " " + st.dim.Render(word)
	if s.Version != "" {
		left += st.dim.Render("  " + clean(s.Version))
	}
	if len(m.stack) > 0 && m.size.w >= 60 {
		var path []string
		for _, sc := range m.stack {
			path = append(path, clean(sc.title()))
		}
		left += st.faint.Render("  ›  ") + st.text.Render(strings.Join(path, " › "))
	}
	if m.told != "" {
		left += "  " + st.dot(observe.Busy) + " " + st.text.Render(cut(clean(m.told), max(10, m.size.w/2)))
	}
	ns := "all namespaces"
	if m.w.namespace != "" {
		ns = "ns " + m.w.namespace
	}
	right := st.dim.Render(clean(ns)) + " "
	if m.w.filter != "" && !m.filtering {
		right = st.input.Render("/"+clean(m.w.filter)) + st.faint.Render(" · ") + right
	}
	return fit(spread(left, right, m.size.w), m.size.w)
}

// tabText is the label of a main screen; narrow windows get only the number of those that are not shown.
func (m *Model) tabText(i int) string {
	n := strconv.Itoa(i + 1)
	if m.size.w < 78 && i != m.active {
		return " " + n + " "
	}
	return " " + n + " " + screenNames()[i] + " "
}

// tabs is the second line: the main screens.
func (m *Model) tabs() string {
	var b strings.Builder
	for i := range screenNames() {
		style := m.st.tab
		if i == m.active {
			style = m.st.tabOn.Underline(true)
		}
		label := m.tabText(i)
		if i == m.active {
			b.WriteString(" " + style.Render(strings.TrimSpace(label)) + " ")
			continue
		}
		b.WriteString(style.Render(label))
	}
	return fit(b.String(), m.size.w)
}

// tabAt is the main screen whose tab covers column x, or -1.
func (m *Model) tabAt(x int) int {
	at := 0
	for i := range screenNames() {
		at += width(m.tabText(i))
		if x < at {
			return i
		}
	}
	return -1
}

// footer is the last line: what is being typed, what just happened, or what the keys do.
func (m *Model) footer() string {
	st := m.st
	switch {
	case m.filtering:
		m.filter.Width = max(10, m.size.w-40)
		return fit(spread(" "+m.filter.View(), st.dim.Render("words must all occur; !word must not  ↵ keep  esc clear "), m.size.w), m.size.w)
	case m.toast.text != "" && m.w.now.Before(m.toastEnds):
		return fit(" "+st.dot(m.toast.level)+" "+st.level(m.toast.level).Render(clean(m.toast.text)), m.size.w)
	}
	var b strings.Builder
	b.WriteString(" ")
	hints := append(append([]binding{}, m.top().keys()...), m.k.filter, m.k.palette)
	tail := st.key.Render("?") + st.dim.Render(" help ")
	for _, h := range hints {
		part := st.key.Render(h.Help().Key) + st.dim.Render(" "+h.Help().Desc) + "  "
		if width(b.String())+width(part)+width(tail) > m.size.w {
			break
		}
		b.WriteString(part)
	}
	return fit(b.String()+tail, m.size.w)
}

// send makes a message a command.
func send(msg tea.Msg) tea.Cmd { return func() tea.Msg { return msg } }

func push(s screen) tea.Cmd { return send(pushMsg{s}) }
func open(d dialog) tea.Cmd { return send(dialogMsg{d}) }
func toast(l observe.Level, format string, args ...any) tea.Cmd {
	return send(toastMsg{fmt.Sprintf(format, args...), l})
}

// commandPalette offers what the screen can do, the screens, the resources and the namespaces.
func (m *Model) commandPalette() dialog {
	var list []choice
	for _, b := range m.top().keys() {
		press := keyPress(b.Keys()[0])
		list = append(list, choice{name: b.Help().Desc, note: "key " + b.Help().Key, then: send(press)})
	}
	for i, n := range screenNames() {
		list = append(list, choice{name: strings.ToLower(n), note: fmt.Sprintf("screen %d", i+1), then: send(gotoMsg{i})})
	}
	list = append(list, choice{name: "namespaces…", note: "choose a namespace", then: send(keyPress("n"))},
		choice{name: "cluster…", note: "choose a cluster", then: m.targets}, choice{name: "quit", note: "leave kl ui", also: "q exit", then: send(quitMsg{})})
	list = append(list, m.resourceChoices()...)
	for _, n := range m.w.snap.Namespaces {
		list = append(list, choice{name: "ns " + n.Name, note: "namespace", then: send(namespaceMsg{n.Name})})
	}
	return newPicker("Command", "screen, resource, action, namespace…", list)
}

// keyPress is the message of a key by its name.
func keyPress(name string) tea.KeyMsg {
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

// resourcePicker chooses among what the server serves, which it may not have said yet.
func (m *Model) resourcePicker() dialog {
	p := newPicker("Resource", "pods, deploy, crd, secret…", m.resourceChoices())
	p.again = m.resourceChoices
	return p
}

func (m *Model) resourceChoices() []choice {
	var list []choice
	for _, r := range m.resources {
		note := r.Kind
		if r.GVR.Group != "" {
			note += " · " + r.GVR.Group
		}
		list = append(list, choice{name: r.Label(), note: note, also: strings.Join(append([]string{r.Kind}, r.Short...), " "), then: push(newBrowser(m, r))})
	}
	return list
}

func (m *Model) namespacePicker() dialog {
	list := []choice{{name: "all namespaces", current: m.w.namespace == "", then: send(namespaceMsg{})}}
	pods := map[string]int{}
	for _, p := range m.w.snap.Pods {
		pods[p.Namespace]++
	}
	for _, n := range m.w.snap.Namespaces {
		list = append(list, choice{name: n.Name, note: count(pods[n.Name], "pod"), current: n.Name == m.w.namespace, then: send(namespaceMsg{n.Name})})
	}
	p := newPicker("Namespace", "part of a name", list)
	p.free = func(s string) tea.Cmd { return send(namespaceMsg{strings.TrimSpace(s)}) }
	return p
}

func (m *Model) clusterPicker(targets []observe.Target) dialog {
	var list []choice
	for _, t := range targets {
		note := "context"
		if t.Layout != nil {
			note = "kl cluster"
		}
		current := m.session != nil && m.session.target.Name == t.Name && (m.session.target.Layout == nil) == (t.Layout == nil)
		list = append(list, choice{name: t.Name, note: note, current: current, then: m.open(t)})
	}
	return newPicker("Cluster", "kl clusters and kubeconfig contexts", list)
}
