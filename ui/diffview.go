package ui

import (
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// diffView compares the templates of two revisions of a rollout side by side: at first, the chosen one and the one before
// it.
type diffView struct {
	sh          shell
	state       viewState
	key         string // of the rollout
	number      int64  // of the chosen revision
	against     int64  // number of the other one; 0 means the newest that is older
	lines       []observe.DiffLine
	shown       []observe.DiffLine // of lines
	changes     int                // lines that differ
	onlyChanged bool
	window      kit.Scroll
	left, right string // titles
}

func newDiffView(sh shell, key string, number int64) *diffView {
	return &diffView{sh: sh, key: key, number: number}
}

func (d *diffView) title() string { return fmt.Sprintf("revision %d", d.number) }

func (d *diffView) keys() []kit.Binding {
	k := d.sh.keys()
	return []kit.Binding{k.onlyDiff, k.older, k.newer, k.Up, k.Down}
}

func (d *diffView) setState(v viewState) {
	d.state, d.lines = v, nil
	d.compare(v)
	d.choose()
}

// compare computes the difference of the two revisions, if they still exist.
func (d *diffView) compare(v viewState) {
	for _, r := range observe.Rollouts(v.snap, v.now) {
		if r.Key() != d.key {
			continue
		}
		one, other := d.pick(observe.Revisions(v.snap, &r))
		switch {
		case one == nil:
		case other == nil:
			d.left, d.right = "(nothing before)", label(one)
			d.lines = observe.Diff("", observe.TemplateYAML(one.Template))
		default:
			d.left, d.right = label(other), label(one)
			d.lines = observe.Diff(observe.TemplateYAML(other.Template), observe.TemplateYAML(one.Template))
		}
		return
	}
}

// pick finds the chosen revision and the one to compare it with. The list is sorted newest first.
func (d *diffView) pick(list []observe.Revision) (one, other *observe.Revision) {
	for i := range list {
		switch n := list[i].Number; {
		case n == d.number:
			one = &list[i]
		case other == nil && (d.against != 0 && n == d.against || d.against == 0 && n < d.number):
			other = &list[i]
		}
	}
	return one, other
}

// choose picks the lines to show.
func (d *diffView) choose() {
	d.shown, d.changes = d.lines, 0
	if d.onlyChanged {
		d.shown = nil
	}
	for _, l := range d.lines {
		if l.Op == ' ' {
			continue
		}
		d.changes++
		if d.onlyChanged {
			d.shown = append(d.shown, l)
		}
	}
}

// label is the title above a revision.
func label(r *observe.Revision) string {
	s := fmt.Sprintf("revision %d", r.Number)
	if r.Current {
		s += " (newest)"
	}
	if r.Cause != "" {
		s += " · " + r.Cause
	}
	return s
}

func (d *diffView) update(msg tea.Msg) tea.Cmd {
	k := d.sh.keys()
	switch key, ok := msg.(tea.KeyMsg); {
	case ok && k.onlyDiff.Match(key):
		d.onlyChanged, d.window.Offset = !d.onlyChanged, 0
		d.choose()
	case ok && k.older.Match(key):
		d.against = d.base() - 1
		d.setState(d.state)
	case ok && k.newer.Match(key):
		d.against = d.base() + 1
		d.setState(d.state)
	default:
		d.window.Handle(msg, k.MoveKeys)
	}
	return nil
}

func (d *diffView) resize(a kit.Area) { d.window.Resize(len(d.shown), a.H-2) }

// base is the number of the other revision.
func (d *diffView) base() int64 {
	if d.against != 0 {
		return d.against
	}
	return d.number - 1
}

func (d *diffView) view(st *kit.Styles, a kit.Area) string {
	if len(d.lines) == 0 {
		return st.Empty("This revision no longer exists", "esc goes back", a)
	}
	w := (a.W - 3) / 2
	head := kit.Fit(" "+st.Title.Render(kit.Cut(kit.Clean(d.left), w-1)), w) + st.Faint.Render(" │ ") + kit.Fit(st.Title.Render(kit.Cut(kit.Clean(d.right), w)), a.W-w-3)
	note := kit.Fit(st.Dim.Render(" "+kit.Count(d.changes, "changed line")), a.W)
	out := []string{head, note}
	from, to := d.window.Visible(len(d.shown))
	for _, l := range d.shown[from:to] {
		left, right, mark := st.Dim, st.Dim, st.Faint.Render(" │ ")
		switch l.Op {
		case '~':
			left, right, mark = st.Removed, st.Added, st.Changed.Render(" ≠ ")
		case '-':
			left, mark = st.Removed, st.Removed.Render(" − ")
		case '+':
			right, mark = st.Added, st.Added.Render(" + ")
		}
		out = append(out, kit.Fit(" "+left.Render(kit.Cut(kit.Clean(l.Left), w-1)), w)+mark+kit.Fit(right.Render(kit.Cut(kit.Clean(l.Right), a.W-w-3)), a.W-w-3))
	}
	return kit.Block(strings.Join(out, "\n"), a)
}
