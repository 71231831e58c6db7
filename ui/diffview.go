package ui

import (
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// diffView compares the templates of two revisions side by side: the chosen one and the one before it (or, for an older
// one, the present one).
type diffView struct {
	m           *Model
	key         string
	number      int64
	against     int64
	lines       []observe.DiffLine
	whole       bool // equal lines too
	offset      int
	height      int
	left, right string
}

func newDiffView(m *Model, key string, number int64) *diffView {
	return &diffView{m: m, key: key, number: number, whole: true}
}

func (d *diffView) title() string { return fmt.Sprintf("revision %d", d.number) }

func (d *diffView) keys() []kit.Binding {
	k := d.m.k
	return []kit.Binding{kit.Bind("v", "only changes", "v"), kit.Bind("[", "older", "["), kit.Bind("]", "newer", "]"), k.Up, k.Down}
}

func (d *diffView) set(w *world) {
	d.lines = nil
	for _, r := range observe.Rollouts(w.snap, w.now) {
		if r.Key() != d.key {
			continue
		}
		var one, other *observe.Revision
		revs := observe.Revisions(w.snap, &r)
		for i := range revs {
			if revs[i].Number == d.number {
				one = &revs[i]
			}
		}
		if one == nil {
			return
		}
		for i := range revs { // newest first: the first older one is the one before
			if d.against != 0 && revs[i].Number == d.against || d.against == 0 && revs[i].Number < d.number {
				other = &revs[i]
				break
			}
		}
		if other == nil {
			d.left, d.right = "(nothing before)", label(one)
			d.lines = observe.Diff("", observe.TemplateYAML(one.Template))
			return
		}
		d.left, d.right = label(other), label(one)
		d.lines = observe.Diff(observe.TemplateYAML(other.Template), observe.TemplateYAML(one.Template))
	}
}

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
	key, ok := msg.(tea.KeyMsg)
	if !ok {
		return nil
	}
	k := d.m.k
	switch {
	case key.String() == "v":
		d.whole, d.offset = !d.whole, 0
	case key.String() == "[":
		d.against = d.base() - 1
		d.m.refresh()
	case key.String() == "]":
		d.against = d.base() + 1
		d.m.refresh()
	case k.Up.Match(key):
		d.offset--
	case k.Down.Match(key):
		d.offset++
	case k.PageUp.Match(key):
		d.offset -= d.height
	case k.PageDown.Match(key):
		d.offset += d.height
	}
	return nil
}

func (d *diffView) base() int64 {
	if d.against != 0 {
		return d.against
	}
	return d.number - 1
}

func (d *diffView) view(st *kit.Styles, a kit.Area) string {
	if len(d.lines) == 0 {
		return st.Empty("This revision is gone", "esc goes back", a)
	}
	w := (a.W - 3) / 2
	shown, changes := d.lines, 0
	if !d.whole {
		shown = nil
	}
	for _, l := range d.lines {
		if l.Op != ' ' {
			changes++
			if !d.whole {
				shown = append(shown, l)
			}
		}
	}
	head := kit.Fit(" "+st.Title.Render(kit.Cut(kit.Clean(d.left), w-1)), w) + st.Faint.Render(" │ ") + kit.Fit(st.Title.Render(kit.Cut(kit.Clean(d.right), w)), a.W-w-3)
	note := kit.Fit(st.Dim.Render(" "+kit.Count(changes, "changed line")), a.W)
	d.height = a.H - 2
	d.offset = max(0, min(d.offset, len(shown)-d.height))
	out := []string{head, note}
	for _, l := range shown[d.offset:min(len(shown), d.offset+d.height)] {
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
