package ui

import (
	"context"
	"fmt"
	"slices"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// browser lists the objects of any resource that the server serves, with the columns of kubectl, and follows changes.
type browser struct {
	sh      shell
	state   viewState
	res     observe.Resource
	loaded  bool
	err     string
	data    observe.Table
	rows    []observe.TableRow
	table   kit.Table
	columns []int
	cancel  func()
}

// terminatingColumn stands for the column that tells what an object that is being deleted waits for.
const terminatingColumn = -1

// tableMsg brings a new table of a browser.
type tableMsg struct {
	b    *browser
	data observe.Table
	err  error
	next <-chan tableMsg
}

func newBrowser(sh shell, res observe.Resource) *browser { return &browser{sh: sh, res: res} }

func (b *browser) title() string { return b.res.Label() }

func (b *browser) keys() []kit.Binding {
	k := b.sh.keys()
	return []kit.Binding{k.open, k.describe, k.yaml, k.events, k.remove, k.resource}
}

func (b *browser) wants(msg tea.Msg) bool {
	m, ok := msg.(tableMsg)
	return ok && m.b == b
}

func (b *browser) close() {
	if b.cancel != nil {
		b.cancel()
	}
}

func (b *browser) setState(v viewState) {
	b.state = v
	b.rows = nil // the table draws the old ones until SetRows
	for _, r := range b.data.Rows {
		if v.in(r.Namespace) || !b.res.Namespaced {
			if v.matches(append([]string{r.Namespace}, r.Cells...)...) {
				b.rows = append(b.rows, r)
			}
		}
	}
	rows := b.rows
	b.table.SetRows(len(rows), func(i int) string { return rows[i].UID }, func(i int) []kit.Cell {
		var out []kit.Cell
		if b.res.Namespaced {
			out = append(out, kit.Dim(rows[i].Namespace))
		}
		for _, c := range b.columns {
			if c == terminatingColumn {
				out = append(out, kit.Text(rows[i].Terminating))
				continue
			}
			if c < len(rows[i].Cells) {
				out = append(out, kit.Text(rows[i].Cells[c]))
			}
		}
		return out
	})
}

// start opens a watch.
func (b *browser) start() tea.Cmd {
	act, res := b.sh.session().act, b.res
	cmd, cancel := b.sh.session().cancelable(func(ctx context.Context) tea.Msg {
		out := make(chan tableMsg, 1)
		go follow(ctx, b, act, res, out)
		return waitTable(ctx, out)
	})
	b.cancel = cancel
	return cmd
}

// follow sends tables to out, and closes it when ctx is done. A new table replaces one that has not been shown yet, so that
// a busy resource cannot flood the screen. The watch is opened again two seconds after it ends.
func follow(ctx context.Context, b *browser, act *observe.Actions, res observe.Resource, out chan tableMsg) {
	defer close(out)
	put := func(m tableMsg) bool {
		m.next = out
		select {
		case <-out: // an older table that has not been shown
		default:
		}
		select {
		case out <- m:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for ctx.Err() == nil {
		err := act.WatchTable(ctx, res, "", func(t observe.Table) bool { return put(tableMsg{b: b, data: t}) })
		if err != nil && ctx.Err() == nil {
			put(tableMsg{b: b, err: err})
		}
		timer := time.NewTimer(2 * time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// waitTable waits for the next table, or for the end of the watch or of the session.
func waitTable(ctx context.Context, from <-chan tableMsg) tea.Msg {
	select {
	case <-ctx.Done():
		return nil
	case m, ok := <-from:
		if !ok {
			return nil
		}
		return m
	}
}

func (b *browser) update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tableMsg:
		return b.take(msg)
	case tickMsg:
		return nil
	}
	k := b.sh.keys()
	if b.table.Handle(msg, k.MoveKeys) {
		return nil
	}
	key, ok := msg.(tea.KeyMsg)
	if !ok || b.sh.session() == nil {
		return nil
	}
	if k.resource.Match(key) {
		return b.sh.ask(resourcePicker(b.sh))
	}
	if b.table.Cursor >= len(b.rows) {
		return nil
	}
	r := b.rows[b.table.Cursor]
	if k.remove.Match(key) {
		return confirmDelete(b.sh, b.res, r.Namespace, r.Name, "Objects that it owns are deleted too.")
	}
	return inspectKey(b.sh, key, object{b.res, r.Namespace, r.Name})
}

// take shows a table and waits for the next one.
func (b *browser) take(msg tableMsg) tea.Cmd {
	b.loaded = true
	if msg.err != nil {
		b.err = refusal(msg.err)
	} else {
		b.err, b.data = "", msg.data
		b.chooseColumns()
		b.setState(b.state)
	}
	next := msg.next
	return b.sh.session().run(func(ctx context.Context) tea.Msg { return waitTable(ctx, next) })
}

// chooseColumns takes the columns of the server, unless they are the same as before.
func (b *browser) chooseColumns() {
	var cols []kit.Column
	var at []int
	if b.res.Namespaced {
		cols = append(cols, kit.Column{Title: "namespace", Min: 7, Max: 20, Drop: 20})
	}
	for i, c := range b.data.Columns {
		col := kit.Column{Title: c.Name, Max: 48}
		switch {
		case i == 0:
			col.Min, col.Grow = 12, true
		case c.Name == "Age":
			col.Right, col.Drop = true, 1
		case c.Wide:
			col.Drop = 40 + i
		default:
			col.Drop = 2 + i
		}
		cols, at = append(cols, col), append(at, i)
		if i == 0 && slices.ContainsFunc(b.data.Rows, func(r observe.TableRow) bool { return r.Terminating != "" }) {
			cols, at = append(cols, kit.Column{Title: "deletion", Max: 60}), append(at, terminatingColumn)
		}
	}
	if slices.Equal(at, b.columns) && b.table.Columns() == len(cols) {
		return
	}
	b.columns = at
	b.table.SetCols(cols)
}

func (b *browser) resize(a kit.Area) { b.table.Resize(kit.Area{W: a.W, H: a.H - 1}, 1) }

func (b *browser) view(st *kit.Styles, a kit.Area) string {
	switch {
	case b.err != "":
		return st.Empty("Cannot list "+b.res.Label(), kit.Clean(b.err), a)
	case !b.loaded:
		return st.Skeleton("loading "+b.res.Label(), b.state.frame, a)
	case len(b.rows) == 0 && b.state.filter != "":
		return st.Empty("Nothing matches /"+kit.Clean(b.state.filter), "esc clears the filter", a)
	case len(b.rows) == 0:
		return st.Empty("There are no "+b.res.Label()+" here", "r chooses another resource, n another namespace", a)
	}
	sum := " " + st.Dim.Render(fmt.Sprintf("%d %s", len(b.rows), b.res.Label()))
	return kit.Fit(sum, a.W) + "\n" + b.table.View(st, true)
}
