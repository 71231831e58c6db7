package ui

import (
	"context"
	"strings"
	"time"

	"github.com/charmbracelet/bubbles/textinput"
	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// world is what a screen is told: the newest snapshot, the time, and what of it the person wants to see.
type world struct {
	snap      *observe.Snapshot
	now       time.Time
	namespace string // empty means all
	filter    string
	frame     int // of spinners
}

// in reports whether a namespace is shown.
func (w *world) in(namespace string) bool { return w.namespace == "" || w.namespace == namespace }

// matches reports whether every word of the filter occurs in one of the fields; a word with ! in front must not.
func (w *world) matches(fields ...string) bool {
	if w.filter == "" {
		return true
	}
	text := strings.ToLower(strings.Join(fields, "/")) // as most are shown: namespace/name
	for word := range strings.FieldsSeq(strings.ToLower(w.filter)) {
		bare, not := strings.CutPrefix(word, "!")
		if bare != "" && strings.Contains(text, bare) == not {
			return false
		}
	}
	return true
}

// screen is one view. The model gives it the world whenever that changed, keys and messages while it is on top, and an
// area to draw into. A screen that holds something open also has close().
type screen interface {
	title() string
	set(w *world)
	update(msg tea.Msg) tea.Cmd
	view(st *kit.Styles, a kit.Area) string
	keys() []kit.Binding
}

// closer is a screen that holds something open.
type closer interface{ close() }

// listener is a screen that wants some messages even when another is on top.
type listener interface{ hears(msg tea.Msg) bool }

// Model is the whole interface. It is a tea.Model and is used by one program.
type Model struct {
	opts    Options
	st      *kit.Styles
	k       *keyMap
	open    func(observe.Target) tea.Cmd // starts a session
	targets tea.Cmd                      // lists the clusters
	news    tea.Cmd                      // waits for news; nil if nobody tells any
	told    string                       // the newest, until it is over

	size    kit.Area
	w       world
	session *session
	main    []screen
	active  int
	stack   []screen // screens opened from the active one
	dialog  kit.Dialog

	filter    textinput.Model
	filtering bool
	toast     toastMsg
	toastEnds time.Time
	resources []observe.Resource
	failed    string // why no session could be opened
	spinning  bool
	served    *session // whose resources have been asked for
}

// screenNames are the main screens in the order of their number keys.
func screenNames() []string {
	return []string{"Overview", "Rollouts", "Policies", "Metrics", "Workloads", "Nodes", "Audit"}
}

func newModel(opts Options, st *kit.Styles) *Model {
	in := kit.NewInput()
	in.Prompt = "/"
	m := &Model{opts: opts, st: st, k: newKeyMap(), filter: in, w: world{now: opts.clock(), namespace: opts.Namespace}}
	m.w.snap = observe.NewSnapshot(observe.Snapshot{Name: opts.Target.Name, Taken: m.w.now})
	m.reset()
	for i, n := range screenNames() {
		if strings.EqualFold(n, opts.Screen) {
			m.active = i
		}
	}
	m.refresh()
	return m
}

// reset makes fresh screens, as a newly opened cluster needs them.
func (m *Model) reset() {
	for _, s := range append(m.stack, m.main...) {
		if c, ok := s.(closer); ok {
			c.close()
		}
	}
	m.stack = nil
	m.main = []screen{newOverview(m), newRollouts(m), newPolicies(m), newMetrics(m), newWorkloads(m), newNodes(m), newAudit(m)}
}

// Init opens the first session.
func (m *Model) Init() tea.Cmd {
	return tea.Batch(m.open(m.opts.Target), tick(), m.spin(), m.news)
}

func tick() tea.Cmd { return tea.Tick(time.Second, func(t time.Time) tea.Msg { return tickMsg(t) }) }

// spin draws again soon, as long as something loads or a screen is still working out what it shows.
func (m *Model) spin() tea.Cmd {
	p, ok := m.top().(interface{ pending() bool })
	wait := 120 * time.Millisecond
	switch {
	case m.spinning:
		return nil
	case ok && p.pending():
		wait = 20 * time.Millisecond
	case m.w.snap.Synced():
		return nil
	}
	m.spinning = true
	return tea.Tick(wait, func(time.Time) tea.Msg { return spinMsg{} })
}

// top is the screen that is seen.
func (m *Model) top() screen {
	if n := len(m.stack); n > 0 {
		return m.stack[n-1]
	}
	return m.main[m.active]
}

func (m *Model) refresh() { m.top().set(&m.w) }

// Update implements tea.Model. It never blocks.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.size = kit.Area{W: msg.Width, H: msg.Height}
		return m, nil
	case tickMsg:
		m.w.now = m.opts.clock()
		m.refresh()
		return m, tea.Batch(tick(), m.forward(msg))
	case spinMsg:
		m.spinning = false
		m.w.frame++
		m.refresh()
		return m, m.spin()
	case connectedMsg, snapshotMsg, resourcesMsg, targetsMsg:
		return m, m.data(msg)
	case newsMsg:
		return m, m.tell(msg)
	case quitMsg:
		return m, m.quit()
	case interface{ show(frame string) }: // somebody wants to see what is shown
		msg.show(m.View())
		return m, nil
	case tea.KeyMsg:
		var cmds []tea.Cmd
		for _, key := range m.pressed(msg) {
			cmds = append(cmds, m.key(key))
		}
		return m, tea.Batch(append(cmds, m.spin())...)
	case tea.MouseMsg:
		cmd := m.mouse(msg)
		return m, tea.Batch(cmd, m.spin())
	}
	if cmd, ok := m.navigate(msg); ok {
		return m, cmd
	}
	return m, m.forward(msg)
}

// tell shows news until there are others; the last ones for a while.
func (m *Model) tell(n newsMsg) tea.Cmd {
	if n.Done {
		m.told, m.toast, m.toastEnds = "", toastMsg{n.Text, observe.Good}, m.opts.clock().Add(8*time.Second)
		return nil
	}
	m.told = n.Text
	return m.news
}

// navigate answers the messages by which screens ask for other screens.
func (m *Model) navigate(msg tea.Msg) (tea.Cmd, bool) {
	switch msg := msg.(type) {
	case pushMsg:
		return m.push(msg.screen), true
	case localMsg:
		return tea.ExecProcess(msg.command, ended), true
	case execMsg:
		return tea.Exec(msg.command, ended), true
	case popMsg:
		m.pop()
	case gotoMsg:
		m.show(msg.screen)
	case dialogMsg:
		m.dialog = msg.dialog
	case toastMsg:
		m.toast, m.toastEnds = msg, m.opts.clock().Add(8*time.Second)
	case namespaceMsg:
		m.w.namespace = msg.name
		m.refresh()
	default:
		return nil, false
	}
	return nil, true
}

// forward gives a message to the dialog and the screens that wait for it.
func (m *Model) forward(msg tea.Msg) tea.Cmd {
	var cmds []tea.Cmd
	if m.dialog != nil {
		cmd, closed := m.dialog.Update(msg)
		if closed {
			m.dialog = nil
		}
		cmds = append(cmds, cmd)
	}
	top := m.top()
	for _, s := range append(append([]screen{}, m.main...), m.stack...) {
		if l, ok := s.(listener); s == top || ok && l.hears(msg) {
			cmds = append(cmds, s.update(msg))
		}
	}
	return tea.Batch(cmds...)
}

// data takes what commands have found.
func (m *Model) data(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case connectedMsg:
		return m.connected(msg)
	case snapshotMsg:
		if msg.session != m.session {
			return nil // of a cluster that was left
		}
		m.w.snap, m.w.now = msg.snap, m.opts.clock()
		m.refresh()
		return tea.Batch(msg.session.next(msg.changed), m.spin(), m.discover())
	case resourcesMsg:
		if msg.session == m.session && msg.err == nil {
			m.resources = msg.resources
			if p, ok := m.dialog.(*kit.Picker); ok {
				p.Refresh()
			}
		}
	case targetsMsg:
		if msg.err != nil {
			m.toast, m.toastEnds = toastMsg{msg.err.Error(), observe.Bad}, m.opts.clock().Add(8*time.Second)
			return nil
		}
		m.dialog = m.clusterPicker(msg.targets)
	}
	return nil
}

func (m *Model) connected(msg connectedMsg) tea.Cmd {
	if msg.err != nil {
		m.failed = msg.err.Error()
		m.toast, m.toastEnds = toastMsg{msg.err.Error(), observe.Bad}, m.opts.clock().Add(time.Minute)
		return nil
	}
	old := m.session
	m.session, m.failed, m.resources, m.w.filter = msg.session, "", nil, ""
	m.filter.SetValue("")
	if old != nil {
		m.w.namespace = ""
	}
	m.w.snap = observe.NewSnapshot(observe.Snapshot{Name: msg.target.Name, Taken: m.opts.clock()})
	m.reset()
	m.refresh()
	cmds := []tea.Cmd{msg.session.first(), m.spin()}
	for _, s := range m.main {
		if st, ok := s.(starter); ok {
			cmds = append(cmds, st.start())
		}
	}
	if old != nil {
		cmds = append(cmds, func() tea.Msg { old.close(); return nil })
	}
	return tea.Batch(cmds...)
}

// discover asks once a session what the server serves, as soon as it answers.
func (m *Model) discover() tea.Cmd {
	s := m.session
	if m.served == s || m.w.snap.Conn.State != observe.Live {
		return nil
	}
	m.served = s
	return s.run(func(ctx context.Context) tea.Msg {
		list, err := s.act.Resources(ctx)
		return resourcesMsg{s, list, err}
	})
}

// ask opens a dialog at once: the very next key is for it and not for the screen below.
func (m *Model) ask(d kit.Dialog) tea.Cmd {
	m.dialog = d
	return nil
}

// starter is a screen that fetches something as soon as it is shown.
type starter interface{ start() tea.Cmd }

func (m *Model) push(s screen) tea.Cmd {
	m.stack = append(m.stack, s)
	m.clearFilter()
	m.refresh()
	if st, ok := s.(starter); ok && m.session != nil {
		return st.start()
	}
	return nil
}

func (m *Model) pop() {
	n := len(m.stack)
	if n == 0 {
		return
	}
	if c, ok := m.stack[n-1].(closer); ok {
		c.close()
	}
	m.stack = m.stack[:n-1]
	m.clearFilter()
	m.refresh()
}

func (m *Model) show(i int) {
	for len(m.stack) > 0 {
		m.pop()
	}
	m.active = (i + len(m.main)) % len(m.main)
	m.clearFilter()
	m.refresh()
}

func (m *Model) clearFilter() {
	m.w.filter, m.filtering = "", false
	m.filter.SetValue("")
	m.filter.Blur()
}

func (m *Model) quit() tea.Cmd {
	for _, s := range append(m.stack, m.main...) {
		if c, ok := s.(closer); ok {
			c.close()
		}
	}
	return tea.Quit
}
