package ui

import (
	"context"
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// textView shows a text that a command fetches: YAML, a description, events.
type textView struct {
	m      *Model
	w      *world
	name   string
	fetch  func(context.Context) (string, error)
	lines  []string  // all of the text
	pager  kit.Pager // what the filter lets through
	err    string
	loaded bool
}

// textMsg brings the text of a textView.
type textMsg struct {
	view *textView
	text string
	err  error
}

// openText shows the text that fetch returns.
func (m *Model) openText(name string, yaml bool, fetch func(context.Context) (string, error)) tea.Cmd {
	return m.push(&textView{m: m, name: name, fetch: fetch, pager: kit.Pager{YAML: yaml}})
}

func (t *textView) start() tea.Cmd {
	fetch := t.fetch
	return t.m.session.run(func(ctx context.Context) tea.Msg {
		text, err := fetch(ctx)
		return textMsg{t, text, err}
	})
}

// inspect answers the keys that show an object: describe, YAML, events.
func (m *Model) inspect(key tea.KeyMsg, res observe.Resource, kind, namespace, name string) tea.Cmd {
	act, k := m.session.act, m.k
	switch {
	case k.yaml.Match(key):
		return m.openText(name+" · YAML", true, func(ctx context.Context) (string, error) { return act.YAML(ctx, res, namespace, name) })
	case k.events.Match(key):
		return m.openText(name+" · events", false, func(ctx context.Context) (string, error) {
			list, err := act.Events(ctx, namespace, kind, name)
			if err != nil {
				return "", err
			}
			if len(list) == 0 {
				return "no events in the last hour", nil
			}
			var b strings.Builder
			for i := range list {
				e := &list[i]
				fmt.Fprintf(&b, "%s  %-8s %-24s %s %s\n", observe.EventTime(e).Format("15:04:05"), e.Type, e.Reason, e.Message, times(e))
			}
			return b.String(), nil
		})
	default:
		return m.openText(name, false, func(ctx context.Context) (string, error) { return act.Describe(ctx, res, namespace, name) })
	}
}

func (t *textView) title() string { return t.name }
func (t *textView) keys() []kit.Binding {
	return []kit.Binding{t.m.k.Up, t.m.k.Down, t.m.k.PageDown, t.m.k.End}
}
func (t *textView) hears(msg tea.Msg) bool { m, ok := msg.(textMsg); return ok && m.view == t }

func (t *textView) set(w *world) {
	t.w = w
	lines := t.lines
	if w.filter != "" {
		lines = nil
		for _, l := range t.lines {
			if w.matches(l) {
				lines = append(lines, l)
			}
		}
	}
	t.pager.SetLines(lines)
}

func (t *textView) update(msg tea.Msg) tea.Cmd {
	if msg, ok := msg.(textMsg); ok {
		t.take(msg)
		return nil
	}
	t.pager.Handle(msg, t.m.k.MoveKeys)
	return nil
}

func (t *textView) take(msg textMsg) {
	if msg.view != t {
		return
	}
	t.loaded = true
	if msg.err != nil {
		t.err = refusal(msg.err)
		return
	}
	t.lines = strings.Split(strings.TrimRight(strings.ReplaceAll(msg.text, "\t", "    "), "\n"), "\n")
	t.set(t.w)
}

// inner is the part of an area that is left for the text, and whether there is a frame around it.
func (t *textView) inner(a kit.Area) (inner kit.Area, framed bool) {
	if a.W < 50 || a.H < 8 {
		return a, false
	}
	return a.Inner(), true
}

func (t *textView) resize(a kit.Area) {
	inner, _ := t.inner(a)
	t.pager.Resize(inner.H)
}

func (t *textView) view(st *kit.Styles, a kit.Area) string {
	t.resize(a)
	inner, framed := t.inner(a)
	var body, note string
	switch {
	case t.err != "":
		body = st.Bad.Render(strings.Join(kit.Wrap(t.err, inner.W), "\n"))
	case !t.loaded:
		body = st.Skeleton("asking the server", t.w.frame, inner)
	case len(t.pager.Lines) == 0:
		body = st.Dim.Render("no line matches /" + kit.Clean(t.w.filter))
	default:
		body, note = t.pager.View(st), t.pager.Position()
	}
	if !framed {
		return kit.Block(body, a)
	}
	return st.Panel(t.name, note, body, a, true)
}
