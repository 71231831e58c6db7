package ui

import (
	"fmt"
	"strconv"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// health sums up the state of the cluster in a level and a word.
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

// header is the first line: the cluster, its health, the path of open screens, the latest news and the namespace.
func (m *Model) header() string {
	st, s := m.st, m.state.snap
	level, word := health(s)
	left := st.Brand.Render(" kl ") + " " + st.Title.Render(kit.Cut(kit.Clean(s.Name), max(8, m.size.W/3))) + " " + st.Dot(levelOf(level)) + " " + st.Dim.Render(word)
	if s.Version != "" {
		left += st.Dim.Render("  " + kit.Clean(s.Version))
	}
	if len(m.stack) > 0 && m.size.W >= 60 {
		var path []string
		for _, sc := range m.stack {
			path = append(path, kit.Clean(sc.title()))
		}
		left += st.Faint.Render("  ›  ") + st.Text.Render(strings.Join(path, " › "))
	}
	if m.headline != "" {
		left += "  " + st.Dot(kit.Busy) + " " + st.Text.Render(kit.Cut(kit.Clean(m.headline), max(10, m.size.W/2)))
	}
	ns := "all namespaces"
	switch {
	case m.state.namespace != "":
		ns = "ns " + m.state.namespace
	case s.Only != "":
		ns = "ns " + s.Only + " only"
	}
	right := st.Dim.Render(kit.Clean(ns)) + " "
	if m.state.filter != "" && !m.filtering {
		right = st.Input.Render("/"+kit.Clean(m.state.filter)) + st.Faint.Render(" · ") + right
	}
	return kit.Fit(kit.Spread(left, right, m.size.W), m.size.W)
}

// tabText is the label of a main screen. In a narrow window only the active one has its name.
func (m *Model) tabText(i int) string {
	n := strconv.Itoa(i + 1)
	if m.size.W < 78 && i != m.active {
		return " " + n + " "
	}
	return " " + n + " " + screenNames()[i] + " "
}

// tabs is the second line: the labels of the main screens.
func (m *Model) tabs() string {
	var b strings.Builder
	for i := range screenNames() {
		style := m.st.Tab
		if i == m.active {
			style = m.st.TabOn.Underline(true)
		}
		label := m.tabText(i)
		if i == m.active {
			b.WriteString(" " + style.Render(strings.TrimSpace(label)) + " ")
			continue
		}
		b.WriteString(style.Render(label))
	}
	return kit.Fit(b.String(), m.size.W)
}

// tabAt returns the main screen whose label covers column x, or -1.
func (m *Model) tabAt(x int) int {
	at := 0
	for i := range screenNames() {
		at += kit.Width(m.tabText(i))
		if x < at {
			return i
		}
	}
	return -1
}

// footer is the last line: the filter while it is being typed, else the toast, else the keys of the screen.
func (m *Model) footer() string {
	st := m.st
	switch {
	case m.filtering:
		return kit.Fit(kit.Spread(" "+m.filter.View(), st.Dim.Render("words must all occur; !word must not  ↵ keep  esc clear "), m.size.W), m.size.W)
	case m.toast.text != "" && m.state.now.Before(m.toastEnds):
		return kit.Fit(" "+st.Dot(levelOf(m.toast.level))+" "+st.Level(levelOf(m.toast.level)).Render(kit.Clean(m.toast.text)), m.size.W)
	}
	var b strings.Builder
	b.WriteString(" ")
	hints := append(append([]kit.Binding{}, m.top().keys()...), m.keymap.filter, m.keymap.palette)
	tail := st.Key.Render("?") + st.Dim.Render(" help ")
	for _, h := range hints {
		part := st.Key.Render(h.Help().Key) + st.Dim.Render(" "+h.Help().Desc) + "  "
		if kit.Width(b.String())+kit.Width(part)+kit.Width(tail) > m.size.W {
			break
		}
		b.WriteString(part)
	}
	return kit.Fit(b.String()+tail, m.size.W)
}

// send returns a command that sends a message.
func send(msg tea.Msg) tea.Cmd { return func() tea.Msg { return msg } }

func push(s screen) tea.Cmd           { return send(pushMsg{s}) }
func openDialog(d kit.Dialog) tea.Cmd { return send(dialogMsg{d}) }
func toast(l observe.Level, format string, args ...any) tea.Cmd {
	return send(toastMsg{fmt.Sprintf(format, args...), l})
}

// commandPalette offers the keys of the screen on top, all screens, resources and namespaces.
func (m *Model) commandPalette() kit.Dialog {
	var list []kit.Choice
	for _, b := range m.top().keys() {
		list = append(list, kit.Choice{Name: b.Help().Desc, Note: "key " + b.Help().Key, Then: send(b.Press())})
	}
	for i, n := range screenNames() {
		list = append(list, kit.Choice{Name: strings.ToLower(n), Note: fmt.Sprintf("screen %d", i+1), Then: send(showMsg{i})})
	}
	list = append(list, kit.Choice{Name: "namespaces…", Note: "choose a namespace", Then: openDialog(m.namespacePicker())},
		kit.Choice{Name: "cluster…", Note: "choose a cluster", Then: m.targets}, kit.Choice{Name: "quit", Note: "leave kl ui", Also: "q exit", Then: send(quitMsg{})})
	list = append(list, resourceChoices(m)...)
	for _, n := range m.state.snap.Namespaces {
		list = append(list, kit.Choice{Name: "ns " + n.Name, Note: "namespace", Then: send(namespaceMsg{n.Name})})
	}
	return kit.NewPicker("Command", "screen, resource, action, namespace…", list)
}

// resourcePicker chooses one of the resources that the server serves. It is reloaded when they become known.
func resourcePicker(sh shell) kit.Dialog {
	p := kit.NewPicker("Resource", "pods, deploy, crd, secret…", resourceChoices(sh))
	p.Reload = func() []kit.Choice { return resourceChoices(sh) }
	return p
}

// resourceChoices are the known resources; choosing one opens a browser.
func resourceChoices(sh shell) []kit.Choice {
	var list []kit.Choice
	for _, r := range sh.session().servedResources() {
		note := r.Kind
		if r.GVR.Group != "" {
			note += " · " + r.GVR.Group
		}
		list = append(list, kit.Choice{Name: r.Label(), Note: note, Also: strings.Join(append([]string{r.Kind}, r.Short...), " "), Then: push(newBrowser(sh, r))})
	}
	return list
}

func (m *Model) namespacePicker() kit.Dialog {
	list := []kit.Choice{{Name: "all namespaces", Current: m.state.namespace == "", Then: send(namespaceMsg{})}}
	pods := map[string]int{}
	for _, p := range m.state.snap.Pods {
		pods[p.Namespace]++
	}
	for _, n := range m.state.snap.Namespaces {
		list = append(list, kit.Choice{Name: n.Name, Note: kit.Count(pods[n.Name], "pod"), Current: n.Name == m.state.namespace, Then: send(namespaceMsg{n.Name})})
	}
	p := kit.NewPicker("Namespace", "part of a name", list)
	p.Free = func(s string) tea.Cmd { return send(namespaceMsg{strings.TrimSpace(s)}) }
	return p
}

func (m *Model) clusterPicker(targets []observe.Target) kit.Dialog {
	var list []kit.Choice
	for _, t := range targets {
		note := "context"
		if t.Layout != nil {
			note = "kl cluster"
		}
		current := m.conn != nil && m.conn.target.Name == t.Name && (m.conn.target.Layout == nil) == (t.Layout == nil)
		list = append(list, kit.Choice{Name: t.Name, Note: note, Current: current, Then: m.connect(t)})
	}
	return kit.NewPicker("Cluster", "kl clusters and kubeconfig contexts", list)
}
