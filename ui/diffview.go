package ui

import (
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster/observe"
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

func (d *diffView) keys() []binding {
	k := d.m.k
	return []binding{bind("v", "only changes", "v"), bind("[", "older", "["), bind("]", "newer", "]"), k.up, k.down}
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
	case k.up.match(key):
		d.offset--
	case k.down.match(key):
		d.offset++
	case k.pageUp.match(key):
		d.offset -= d.height
	case k.pageDown.match(key):
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

func (d *diffView) view(st *styles, a area) string {
	if len(d.lines) == 0 {
		return st.empty("This revision is gone", "esc goes back", a)
	}
	w := (a.w - 3) / 2
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
	head := fit(" "+st.title.Render(cut(clean(d.left), w-1)), w) + st.faint.Render(" │ ") + fit(st.title.Render(cut(clean(d.right), w)), a.w-w-3)
	note := fit(st.dim.Render(" "+count(changes, "changed line")), a.w)
	d.height = a.h - 2
	d.offset = max(0, min(d.offset, len(shown)-d.height))
	out := []string{head, note}
	for _, l := range shown[d.offset:min(len(shown), d.offset+d.height)] {
		left, right, mark := st.dim, st.dim, st.faint.Render(" │ ")
		switch l.Op {
		case '~':
			left, right, mark = st.removed, st.added, st.changed.Render(" ≠ ")
		case '-':
			left, mark = st.removed, st.removed.Render(" − ")
		case '+':
			right, mark = st.added, st.added.Render(" + ")
		}
		out = append(out, fit(" "+left.Render(cut(clean(l.Left), w-1)), w)+mark+fit(right.Render(cut(clean(l.Right), a.w-w-3)), a.w-w-3))
	}
	return block(strings.Join(out, "\n"), a)
}
