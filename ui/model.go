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

// Model is the whole dashboard: it routes messages to screens and lays out header, body and footer. It is the tea.Model of
// one program.
type Model struct {
	opts    Options
	st      *kit.Styles
	keymap  *keyMap
	connect func(observe.Target) tea.Cmd // opens a session
	targets tea.Cmd                      // lists the clusters
	news    tea.Cmd                      // waits for news; nil if there is no source of news

	size     kit.Area
	state    viewState
	conn     *session // nil until a cluster has been opened
	failed   string   // why no cluster could be opened
	headline string   // the latest news, until the last one has come
	main     []screen
	active   int      // index into main
	stack    []screen // opened from the active screen, the last one on top
	dialog   kit.Dialog

	filter      textinput.Model
	filtering   bool
	toast       toastMsg
	saidRefused string // the refused kinds that a toast has named
	toastEnds   time.Time
	spinning    bool // a spinMsg is on its way
}

// screenNames are the names of the main screens, in the order of their number keys.
func screenNames() []string {
	return []string{"Overview", "Rollouts", "Policies", "Metrics", "Workloads", "Nodes", "Audit"}
}

// newModel returns a model that shows an empty cluster. connectWith must be called before the model can run.
func newModel(opts Options, st *kit.Styles) *Model {
	m := &Model{opts: opts, st: st, keymap: newKeyMap(), filter: kit.NewInput("/")}
	m.state = viewState{now: opts.clock(), namespace: opts.Namespace}
	m.state.snap = observe.NewSnapshot(observe.Snapshot{Name: opts.Target.Name, Taken: m.state.now})
	m.reset()
	for i, n := range screenNames() {
		if strings.EqualFold(n, opts.Screen) {
			m.active = i
		}
	}
	m.refresh()
	return m
}

// Init opens the first session.
func (m *Model) Init() tea.Cmd {
	return tea.Batch(m.connect(m.opts.Target), tick(), m.spin(), m.news)
}

func tick() tea.Cmd { return tea.Tick(time.Second, func(t time.Time) tea.Msg { return tickMsg(t) }) }

// spin asks for another frame soon if something is being loaded or the screen on top is pending.
func (m *Model) spin() tea.Cmd {
	wait := 120 * time.Millisecond
	switch {
	case m.spinning:
		return nil
	case m.pending():
		wait = 20 * time.Millisecond
	case m.state.snap.Synced():
		return nil
	}
	m.spinning = true
	return tea.Tick(wait, func(time.Time) tea.Msg { return spinMsg{} })
}

// pending reports whether the screen on top is still working out what it shows.
func (m *Model) pending() bool {
	p, ok := m.top().(pender)
	return ok && p.pending()
}

// Update implements tea.Model. It never blocks.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if to, ok := msg.(interface{ show(frame string) }); ok { // a test wants to see the frame
		to.show(m.View())
		return m, nil
	}
	cmd := m.handle(msg)
	m.resize()
	return m, tea.Batch(cmd, m.spin())
}

func (m *Model) handle(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.size = kit.Area{W: msg.Width, H: msg.Height}
		return nil
	case tickMsg:
		m.state.now = m.now()
		m.refresh()
		return tea.Batch(tick(), m.forward(msg))
	case spinMsg:
		m.spinning = false
		m.state.frame++
		m.refresh()
		return nil
	case newsMsg:
		return m.takeNews(msg)
	case quitMsg:
		return m.quit()
	case tea.KeyMsg:
		var cmds []tea.Cmd
		for _, key := range m.splitKeys(msg) {
			cmds = append(cmds, m.key(key))
		}
		return tea.Batch(cmds...)
	case tea.MouseMsg:
		return m.mouse(msg)
	}
	if cmd, ok := m.navigate(msg); ok {
		return cmd
	}
	if cmd, ok := m.data(msg); ok {
		return cmd
	}
	return m.forward(msg)
}

// resize gives everything that is shown its area. What depends on the area is computed here, so that View only draws.
func (m *Model) resize() {
	if r, ok := m.top().(resizer); ok {
		r.resize(m.bodyArea())
	}
	if r, ok := m.dialog.(kit.Resizer); ok {
		r.Resize(m.dialogArea())
	}
	kit.ResizeInput(&m.filter, max(10, m.size.W-40))
}

// refresh gives the state to the screen on top.
func (m *Model) refresh() { m.top().setState(m.state) }

// takeNews shows news in the first line until there are newer ones. The last one is shown as a toast.
func (m *Model) takeNews(n newsMsg) tea.Cmd {
	if n.Done {
		m.headline = ""
		m.say(toastMsg{n.Text, observe.Good}, 8*time.Second)
		return nil
	}
	m.headline = n.Text
	return m.news
}

// say shows a toast in the footer for a while.
// sayRefused names the kinds that the user may not list, once for each set of them.
func (m *Model) sayRefused() {
	list := strings.Join(m.state.snap.Forbidden, ", ")
	if !m.state.snap.Synced() || list == m.saidRefused {
		return
	}
	if m.saidRefused = list; list != "" {
		m.say(toastMsg{"left out, because you may not list them: " + list, observe.Warn}, 8*time.Second)
	}
}

func (m *Model) say(t toastMsg, d time.Duration) { m.toast, m.toastEnds = t, m.now().Add(d) }

// forward gives a message to the dialog, the screen on top and the screens that want it.
func (m *Model) forward(msg tea.Msg) tea.Cmd {
	var cmds []tea.Cmd
	if m.dialog != nil {
		cmds = append(cmds, m.updateDialog(msg))
	}
	top := m.top()
	for _, s := range m.screens() {
		if l, ok := s.(listener); s == top || ok && l.wants(msg) {
			cmds = append(cmds, s.update(msg))
		}
	}
	return tea.Batch(cmds...)
}

func (m *Model) updateDialog(msg tea.Msg) tea.Cmd {
	cmd, closed := m.dialog.Update(msg)
	if closed {
		m.dialog = nil
	}
	return cmd
}

// data handles the results of commands about the cluster; ok is false if msg is not one of them.
func (m *Model) data(msg tea.Msg) (cmd tea.Cmd, ok bool) {
	switch msg := msg.(type) {
	case connectedMsg:
		return m.connected(msg), true
	case snapshotMsg:
		if msg.session != m.conn {
			return nil, true // of a session that has been replaced
		}
		m.state.snap, m.state.now = msg.snap, m.now()
		m.sayRefused()
		m.refresh()
		return tea.Batch(msg.session.next(msg.changed), m.discover()), true
	case resourcesMsg:
		if msg.session != m.conn || msg.err != nil {
			return nil, true
		}
		m.conn.resources = msg.resources
		if p, ok := m.dialog.(*kit.Picker); ok {
			p.Refresh()
		}
	case targetsMsg:
		if msg.err != nil {
			m.say(toastMsg{msg.err.Error(), observe.Bad}, 8*time.Second)
			return nil, true
		}
		m.dialog = m.clusterPicker(msg.targets)
	default:
		return nil, false
	}
	return nil, true
}

// connected switches to a session that has been opened.
func (m *Model) connected(msg connectedMsg) tea.Cmd {
	if msg.err != nil {
		m.failed = msg.err.Error()
		m.say(toastMsg{msg.err.Error(), observe.Bad}, time.Minute)
		return nil
	}
	old := m.conn
	m.conn, m.failed = msg.session, ""
	if old != nil {
		m.state.namespace = ""
	}
	m.clearFilter()
	m.state.snap = observe.NewSnapshot(observe.Snapshot{Name: msg.target.Name, Taken: m.now()})
	m.reset()
	m.refresh()
	cmds := []tea.Cmd{msg.session.first()}
	for _, s := range m.main {
		cmds = append(cmds, m.start(s))
	}
	if old != nil {
		cmds = append(cmds, func() tea.Msg { old.close(); return nil })
	}
	return tea.Batch(cmds...)
}

// discover asks the server which resources it serves, once per session, as soon as the server answers.
func (m *Model) discover() tea.Cmd {
	s := m.conn
	if s.discovered || m.state.snap.Conn.State != observe.Live {
		return nil
	}
	s.discovered = true
	return s.run(func(ctx context.Context) tea.Msg {
		list, err := s.act.Resources(ctx)
		return resourcesMsg{s, list, err}
	})
}
