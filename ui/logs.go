package ui

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// logLimit is the number of lines that are kept.
const logLimit = 5000

// logs follows the logs of one or more pods, each container in its own colour.
type logs struct {
	sh       shell
	state    viewState
	name     string
	sources  []observe.LogSource
	lines    []observe.LogLine
	shown    []observe.LogLine // lines that the filter lets through
	follow   bool              // show the last lines
	previous bool              // show the previous run of the containers
	wrapped  bool              // wrap long lines
	ended    bool
	window   kit.Scroll
	run      int // counts the streams: messages of earlier ones are ignored
	cancel   func()
}

// logMsg brings lines that arrived at about the same time.
type logMsg struct {
	logs  *logs
	run   int
	lines []observe.LogLine
	from  <-chan observe.LogLine
	done  bool
}

// openLogs shows the logs of all containers of some pods.
func openLogs(sh shell, name string, pods []*corev1.Pod) tea.Cmd {
	if len(pods) == 0 {
		return toast(observe.Warn, "%s has no pods", name)
	}
	l := &logs{sh: sh, name: name, follow: true}
	for _, p := range pods {
		for _, c := range p.Spec.Containers {
			l.sources = append(l.sources, observe.LogSource{Namespace: p.Namespace, Pod: p.Name, Container: c.Name})
		}
	}
	const most = 50
	if len(l.sources) > most {
		l.sources = l.sources[:most]
	}
	return sh.push(l)
}

// start opens the streams of the logs and closes earlier ones. Lines arrive in batches.
func (l *logs) start() tea.Cmd {
	l.run++
	l.lines, l.shown, l.ended = nil, nil, false
	l.window.Offset = 0
	run, act, sources := l.run, l.sh.session().act, l.sources
	tail := int64(max(50, 1000/len(sources)))
	o := observe.LogOptions{Follow: !l.previous, Previous: l.previous, Tail: tail}
	if l.cancel != nil {
		l.cancel()
	}
	var cmd tea.Cmd
	cmd, l.cancel = l.sh.session().cancelable(func(ctx context.Context) tea.Msg { return readLogs(l, run, act.Logs(ctx, sources, o)) })
	return cmd
}

// readLogs waits for a line and collects what else arrives within a tenth of a second.
func readLogs(l *logs, run int, from <-chan observe.LogLine) tea.Msg {
	first, ok := <-from
	if !ok {
		return logMsg{logs: l, run: run, done: true}
	}
	batch := []observe.LogLine{first}
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	for len(batch) < logLimit {
		select {
		case line, ok := <-from:
			if !ok {
				return logMsg{logs: l, run: run, lines: batch, done: true}
			}
			batch = append(batch, line)
		case <-timer.C:
			return logMsg{logs: l, run: run, lines: batch, from: from}
		}
	}
	return logMsg{logs: l, run: run, lines: batch, from: from}
}

func (l *logs) title() string { return "logs " + l.name }

func (l *logs) close() {
	if l.cancel != nil {
		l.cancel()
	}
}

func (l *logs) wants(msg tea.Msg) bool {
	m, ok := msg.(logMsg)
	return ok && m.logs == l
}

func (l *logs) keys() []kit.Binding {
	k := l.sh.keys()
	return []kit.Binding{k.follow, k.previous, k.wrapLines, k.Up, k.Down, k.End}
}

func (l *logs) setState(v viewState) {
	l.state = v
	l.choose()
}

// choose picks the lines that the filter lets through.
func (l *logs) choose() {
	l.shown = l.lines
	if l.state.filter == "" {
		return
	}
	l.shown = nil
	for _, x := range l.lines {
		if l.state.matches(x.Text, x.Source.Pod) {
			l.shown = append(l.shown, x)
		}
	}
}

func (l *logs) update(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case logMsg:
		return l.take(msg)
	case tea.KeyMsg:
		return l.key(msg)
	case tea.MouseMsg:
		switch msg.Button {
		case tea.MouseButtonWheelUp:
			l.scroll(-3)
		case tea.MouseButtonWheelDown:
			l.scroll(3)
		}
	}
	return nil
}

func (l *logs) take(msg logMsg) tea.Cmd {
	if msg.run != l.run {
		return nil
	}
	l.lines = append(l.lines, msg.lines...)
	if n := len(l.lines) - logLimit; n > 0 {
		l.lines = append([]observe.LogLine(nil), l.lines[n:]...)
		if !l.follow {
			l.window.Move(-n)
		}
	}
	l.choose()
	if msg.done {
		l.ended = true
		return nil
	}
	run, from := msg.run, msg.from
	return func() tea.Msg { return readLogs(l, run, from) }
}

func (l *logs) key(key tea.KeyMsg) tea.Cmd {
	k := l.sh.keys()
	switch {
	case k.follow.Match(key):
		l.follow = !l.follow
	case k.previous.Match(key):
		l.previous = !l.previous
		return l.start()
	case k.wrapLines.Match(key):
		l.wrapped = !l.wrapped
	case k.Up.Match(key):
		l.scroll(-1)
	case k.Down.Match(key):
		l.scroll(1)
	case k.PageUp.Match(key):
		l.scroll(-l.window.Height)
	case k.PageDown.Match(key):
		l.scroll(l.window.Height)
	case k.Home.Match(key):
		l.follow, l.window.Offset = false, 0
	case k.End.Match(key):
		l.follow = true
	}
	return nil
}

// scroll moves the window and stops following.
func (l *logs) scroll(by int) {
	l.window.Move(by)
	l.follow = false
}

func (l *logs) resize(a kit.Area) {
	height := max(1, a.H-1)
	if l.follow {
		l.window.Offset = len(l.shown)
	}
	l.window.Resize(len(l.shown), height)
}

func (l *logs) view(st *kit.Styles, a kit.Area) string {
	lines := l.shown
	state := st.Good.Render("following")
	switch {
	case l.ended:
		state = st.Dim.Render("ended")
	case !l.follow:
		state = st.Warn.Render("paused · f follows")
	}
	if l.previous {
		state = st.Warn.Render("previous run") + " " + state
	}
	head := kit.Spread(" "+st.Dim.Render(fmt.Sprintf("%s · %s", kit.Count(len(l.sources), "container"), kit.Count(len(lines), "line"))), state+" ", a.W)
	if len(lines) == 0 {
		text := "waiting for the first line"
		if l.ended {
			text = "the log is empty"
		}
		if l.state.filter != "" {
			text = "no line matches /" + kit.Clean(l.state.filter)
		}
		return head + "\n" + st.Empty(text, "p shows the previous run of a container", kit.Area{W: a.W, H: a.H - 1})
	}
	var out []string
	for _, x := range lines[l.window.Offset:] {
		out = append(out, l.line(st, x, a.W)...)
		if len(out) >= l.window.Height && !l.follow {
			break
		}
	}
	if len(out) > l.window.Height && l.follow {
		out = out[len(out)-l.window.Height:]
	}
	return kit.Block(head+"\n"+strings.Join(out, "\n"), a)
}

// line draws a line of a log, after the short name of its container if there are several; more than one line if it is
// wrapped.
func (l *logs) line(st *kit.Styles, x observe.LogLine, w int) []string {
	prefix := ""
	if len(l.sources) > 1 {
		for i, s := range l.sources {
			if s == x.Source {
				prefix = st.Palette[i%len(st.Palette)].Render(kit.Fit(kit.Clean(shortPod(x.Source)), min(24, w/4))) + " "
			}
		}
	}
	text, style := kit.Clean(x.Text), st.Text
	if x.Err != nil {
		text, style = kit.Clean(refusal(x.Err)), st.Bad
	} else if lower := strings.ToLower(text[:min(len(text), 80)]); strings.Contains(lower, "error") || strings.Contains(lower, "fatal") || strings.Contains(lower, "panic") {
		style = st.Bad
	} else if strings.Contains(lower, "warn") {
		style = st.Warn
	}
	if !l.wrapped {
		return []string{kit.Cut(" "+prefix+style.Render(text), w)}
	}
	var out []string
	for part := range strings.SplitSeq(ansi.Hardwrap(text, max(10, w-kit.Width(prefix)-2), true), "\n") {
		out = append(out, kit.Cut(" "+prefix+style.Render(part), w))
	}
	return out
}

// shortPod is the name of a container without the middle of its pod's name, which replicas have in common.
func shortPod(s observe.LogSource) string {
	name := s.Pod
	if parts := strings.Split(name, "-"); len(parts) > 2 {
		name = parts[0] + "-" + parts[len(parts)-1]
	}
	return name + "/" + s.Container
}
