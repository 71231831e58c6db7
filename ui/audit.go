package ui

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// auditLimit is the number of entries that are kept.
const auditLimit = 3000

// audit shows the audit log of the API server as it grows, newest entry first.
type audit struct {
	sh      shell
	state   viewState
	list    []observe.AuditEntry // newest last
	shown   []int                // indices into list, newest first
	seen    int                  // entries received so far, including dropped ones
	denied  bool                 // show only requests that were refused
	changes bool                 // show only requests that change something
	frozen  bool                 // take no new entries
	table   kit.Table
}

// auditMsg brings new entries.
type auditMsg struct {
	session *session
	entries []observe.AuditEntry
	from    <-chan []observe.AuditEntry
}

func newAudit(sh shell) *audit {
	a := &audit{sh: sh}
	a.table.SetCols([]kit.Column{{Title: "time"}, {Title: "code", Right: true}, {Title: "verb", Max: 16}, {Title: "resource", Min: 18, Max: 36},
		{Title: "object", Min: 10, Grow: true}, {Title: "user", Min: 14, Max: 44}, {Title: "agent", Drop: 2, Max: 24}, {Title: "took", Right: true, Drop: 1}, {Title: "from", Drop: 3}})
	return a
}

func (a *audit) title() string { return "Audit" }
func (a *audit) keys() []kit.Binding {
	k := a.sh.keys()
	return []kit.Binding{k.open, k.onlyDenied, k.onlyChanges, k.freeze}
}

func (a *audit) wants(msg tea.Msg) bool { _, ok := msg.(auditMsg); return ok }

// start follows the audit log if the cluster is one of kl's. It is called when the session opens, so that no entry is
// missed while other screens are shown.
func (a *audit) start() tea.Cmd {
	s := a.sh.session()
	if s == nil || s.target.Layout == nil {
		return nil
	}
	path := s.target.Layout.AuditLog()
	return s.run(func(ctx context.Context) tea.Msg {
		out := make(chan []observe.AuditEntry)
		go func() {
			defer close(out)
			_ = observe.TailAudit(ctx, path, func(batch []observe.AuditEntry) {
				select {
				case out <- batch:
				case <-ctx.Done():
				}
			}) // the screen stays empty and says why: without a log, nothing can be read
		}()
		return nextAudit(s, out)
	})
}

func nextAudit(s *session, from <-chan []observe.AuditEntry) tea.Msg {
	batch, ok := <-from
	if !ok {
		return nil
	}
	return auditMsg{s, batch, from}
}

func (a *audit) setState(v viewState) {
	a.state = v
	if a.frozen && a.state.filter == "" && len(a.shown) > 0 {
		return
	}
	a.shown = a.shown[:0]
	for i := len(a.list) - 1; i >= 0; i-- {
		e := &a.list[i]
		if a.denied && !e.Denied() || a.changes && !e.Change() {
			continue
		}
		if ns, _, ok := strings.Cut(e.Object, "/"); ok && !v.in(ns) {
			continue
		}
		if v.matches(e.User, e.Verb, e.Resource, e.Object, strconv.Itoa(e.Code), e.Agent) {
			a.shown = append(a.shown, i)
		}
	}
	shown, list := a.shown, a.list
	a.table.SetRows(len(shown), func(i int) string { return strconv.Itoa(a.seen - len(list) + shown[i]) },
		func(i int) []kit.Cell { return auditRow(&list[shown[i]], v.now.Location()) })
}

func auditRow(e *observe.AuditEntry, where *time.Location) []kit.Cell {
	code := kit.Cell{Text: strconv.Itoa(e.Code), Style: func(st *kit.Styles) lipgloss.Style { return auditStyle(st, *e) }}
	verb := kit.Dim(e.Verb)
	if e.Change() {
		verb = kit.Text(e.Verb)
	}
	return []kit.Cell{kit.Dim(e.Time.In(where).Format(time.TimeOnly)), code, verb, kit.Text(e.Resource), kit.Text(e.Object), kit.Text(e.User), kit.Dim(e.Agent),
		kit.Dim(kit.Seconds(e.Latency.Seconds())), kit.Dim(e.Source)}
}

func (a *audit) update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case auditMsg:
		return a.take(msg)
	case tea.KeyMsg:
		k := a.sh.keys()
		switch {
		case k.onlyDenied.Match(msg):
			a.denied = !a.denied
		case k.onlyChanges.Match(msg):
			a.changes = !a.changes
		case k.freeze.Match(msg):
			a.frozen = !a.frozen
		case k.open.Match(msg):
			return a.openEntry()
		default:
			a.table.Handle(msg, k.MoveKeys)
			return nil
		}
		a.shown = a.shown[:0]
		a.setState(a.state)
	default:
		a.table.Handle(msg, a.sh.keys().MoveKeys)
	}
	return nil
}

func (a *audit) take(msg auditMsg) tea.Cmd {
	if msg.session != a.sh.session() {
		return nil
	}
	a.seen += len(msg.entries)
	if !a.frozen {
		follow := a.table.Cursor == 0
		a.list = append(a.list, msg.entries...)
		if n := len(a.list) - auditLimit; n > 0 {
			a.list = append([]observe.AuditEntry(nil), a.list[n:]...)
		}
		a.setState(a.state)
		if follow {
			a.table.Cursor = 0
		}
	}
	s, from := msg.session, msg.from
	return func() tea.Msg { return nextAudit(s, from) }
}

// openEntry shows all fields of the selected entry.
func (a *audit) openEntry() tea.Cmd {
	if a.table.Cursor >= len(a.shown) || a.sh.session() == nil {
		return nil
	}
	e := a.list[a.shown[a.table.Cursor]]
	return openText(a.sh, "audit "+e.Verb+" "+e.Resource, true, func(context.Context) (string, error) { return observe.AuditYAML(e) })
}

func (a *audit) resize(ar kit.Area) { a.table.Resize(kit.Area{W: ar.W, H: ar.H - 1}, 1) }

func (a *audit) view(st *kit.Styles, ar kit.Area) string {
	t := a.sh.session()
	switch {
	case t != nil && t.target.Layout == nil:
		return st.Empty("The audit log of this cluster is not on this machine", "kl keeps one for its own clusters", ar)
	case len(a.list) == 0 && a.state.snap.Disk != nil && a.state.snap.Disk.AuditLog == "":
		return st.Empty("This cluster keeps no audit log", "its policy in kl.yaml logs nothing, or its control plane has never run", ar)
	case len(a.list) == 0:
		return st.Skeleton("waiting for the first request", a.state.frame, ar)
	}
	var flags []string
	if a.denied {
		flags = append(flags, "only refused")
	}
	if a.changes {
		flags = append(flags, "only changes")
	}
	if a.frozen {
		flags = append(flags, "frozen, f resumes")
	}
	head := kit.Spread(" "+st.Dim.Render(fmt.Sprintf("%d of %s", len(a.shown), kit.Count(len(a.list), "request"))), st.Warn.Render(strings.Join(flags, " · "))+" ", ar.W)
	if len(a.shown) == 0 {
		return head + "\n" + st.Empty("No request matches", "x and w turn filters off, esc clears the search", kit.Area{W: ar.W, H: ar.H - 1})
	}
	return head + "\n" + a.table.View(st, true)
}
