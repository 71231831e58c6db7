package ui

import (
	"context"
	"fmt"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"

	"github.com/klkube/kl/cluster/observe"
)

// pager shows a text that a command fetches: YAML, a description, events.
type pager struct {
	m      *Model
	w      *world
	name   string
	kind   pagerKind
	lines  []string
	shown  []string
	err    string
	loaded bool
	offset int
	height int
	x      int // first column shown
}

type pagerKind int

const (
	pagerText pagerKind = iota
	pagerYAML
)

// pagerMsg brings the text of a pager.
type pagerMsg struct {
	pager *pager
	text  string
	err   error
}

// openPager pushes a pager and fetches its text.
func (m *Model) openPager(name string, kind pagerKind, fetch func(context.Context) (string, error)) tea.Cmd {
	p := &pager{m: m, name: name, kind: kind}
	return tea.Batch(m.push(p), m.session.run(func(ctx context.Context) tea.Msg {
		text, err := fetch(ctx)
		return pagerMsg{p, text, err}
	}))
}

// inspect answers the keys that show an object: describe, YAML, events.
func (m *Model) inspect(key tea.KeyMsg, res observe.Resource, kind, namespace, name string) tea.Cmd {
	act, k := m.session.act, m.k
	switch {
	case k.yaml.match(key):
		return m.openPager(name+" · YAML", pagerYAML, func(ctx context.Context) (string, error) { return act.YAML(ctx, res, namespace, name) })
	case k.events.match(key):
		return m.openPager(name+" · events", pagerText, func(ctx context.Context) (string, error) {
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
		return m.openPager(name, pagerText, func(ctx context.Context) (string, error) { return act.Describe(ctx, res, namespace, name) })
	}
}

func (p *pager) title() string          { return p.name }
func (p *pager) keys() []binding        { return []binding{p.m.k.up, p.m.k.down, p.m.k.pageDown, p.m.k.end} }
func (p *pager) hears(msg tea.Msg) bool { m, ok := msg.(pagerMsg); return ok && m.pager == p }

func (p *pager) set(w *world) {
	p.w = w
	p.shown = p.lines
	if w.filter != "" {
		p.shown = nil
		for _, l := range p.lines {
			if w.matches(l) {
				p.shown = append(p.shown, l)
			}
		}
	}
}

func (p *pager) update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case pagerMsg:
		if msg.pager != p {
			return nil
		}
		p.loaded = true
		if msg.err != nil {
			p.err = refusal(msg.err)
			return nil
		}
		p.lines = strings.Split(strings.TrimRight(strings.ReplaceAll(msg.text, "\t", "    "), "\n"), "\n")
		p.set(p.w)
	case tea.KeyMsg:
		p.scroll(msg)
	case tea.MouseMsg:
		switch msg.Button {
		case tea.MouseButtonWheelUp:
			p.offset -= 3
		case tea.MouseButtonWheelDown:
			p.offset += 3
		}
	}
	return nil
}

func (p *pager) scroll(msg tea.KeyMsg) {
	k := p.m.k
	switch {
	case k.up.match(msg):
		p.offset--
	case k.down.match(msg):
		p.offset++
	case k.pageUp.match(msg):
		p.offset -= p.height
	case k.pageDown.match(msg), msg.String() == " ":
		p.offset += p.height
	case k.home.match(msg):
		p.offset = 0
	case k.end.match(msg):
		p.offset = len(p.shown)
	case k.right.match(msg):
		p.x += 8
	case k.left.match(msg):
		p.x = max(0, p.x-8)
	}
}

func (p *pager) view(st *styles, a area) string {
	inner := area{a.w - 4, a.h - 2}
	if a.w < 50 || a.h < 8 {
		inner = a
	}
	p.height = inner.h
	var body, note string
	switch {
	case p.err != "":
		body = st.bad.Render(strings.Join(wrap(p.err, inner.w), "\n"))
	case !p.loaded:
		body = st.skeleton("asking the server", p.w.frame, inner)
	case len(p.shown) == 0:
		body = st.dim.Render("no line matches /" + clean(p.w.filter))
	default:
		p.offset = max(0, min(p.offset, len(p.shown)-inner.h))
		var lines []string
		for _, l := range p.shown[p.offset:min(len(p.shown), p.offset+inner.h)] {
			lines = append(lines, p.paint(st, shift(clean(l), p.x)))
		}
		body = strings.Join(lines, "\n")
		note = fmt.Sprintf("%d–%d of %d", p.offset+1, min(len(p.shown), p.offset+inner.h), len(p.shown))
	}
	if inner == a {
		return block(body, a)
	}
	return st.panel(p.name, note, body, a, true)
}

// shift leaves out the first x cells.
func shift(s string, x int) string {
	for i := range s {
		if x <= 0 {
			return s[i:]
		}
		x--
	}
	return ""
}

// paint colours keys and values.
func (p *pager) paint(st *styles, l string) string {
	trimmed := strings.TrimLeft(l, " -")
	indent := l[:len(l)-len(trimmed)]
	name, value, ok := strings.Cut(trimmed, ":")
	if !ok || strings.ContainsAny(name, " \"{/") && p.kind == pagerYAML || value != "" && value[0] != ' ' || strings.Contains(name, "  ") {
		return st.text.Render(l)
	}
	return st.faint.Render(indent) + st.accent.Render(name+":") + valueStyle(st, value).Render(value)
}

func valueStyle(st *styles, v string) lipgloss.Style {
	switch strings.TrimSpace(v) {
	case "true", "True", "Running", "Ready":
		return st.good
	case "false", "False", "null", "<none>", "<unset>":
		return st.dim
	}
	return st.text
}
