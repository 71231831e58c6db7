package ui

import (
	"context"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/ui/kit"
)

// textView shows a text that is fetched once: YAML, a description, events.
type textView struct {
	sh     shell
	state  viewState
	name   string
	fetch  func(context.Context) (string, error)
	lines  []string  // all of the text
	pager  kit.Pager // the lines that pass the filter
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
func openText(sh shell, name string, yaml bool, fetch func(context.Context) (string, error)) tea.Cmd {
	return sh.push(&textView{sh: sh, name: name, fetch: fetch, pager: kit.Pager{YAML: yaml}})
}

func (t *textView) start() tea.Cmd {
	fetch := t.fetch
	return t.sh.session().run(func(ctx context.Context) tea.Msg {
		text, err := fetch(ctx)
		return textMsg{t, text, err}
	})
}

func (t *textView) title() string { return t.name }
func (t *textView) keys() []kit.Binding {
	k := t.sh.keys()
	return []kit.Binding{k.Up, k.Down, k.PageDown, k.End}
}
func (t *textView) wants(msg tea.Msg) bool { m, ok := msg.(textMsg); return ok && m.view == t }

func (t *textView) setState(v viewState) {
	t.state = v
	lines := t.lines
	if v.filter != "" {
		lines = nil
		for _, l := range t.lines {
			if v.matches(l) {
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
	t.pager.Handle(msg, t.sh.keys().MoveKeys)
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
	t.setState(t.state)
}

// inner is the part of an area for the text, and whether there is a frame around it.
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
	inner, framed := t.inner(a)
	var body, note string
	switch {
	case t.err != "":
		body = st.Bad.Render(strings.Join(kit.Wrap(t.err, inner.W), "\n"))
	case !t.loaded:
		body = st.Skeleton("asking the server", t.state.frame, inner)
	case t.pager.Empty():
		body = st.Dim.Render("no line matches /" + kit.Clean(t.state.filter))
	default:
		body, note = t.pager.View(st), t.pager.Position()
	}
	if !framed {
		return kit.Block(body, a)
	}
	return st.Panel(t.name, note, body, a, true)
}
