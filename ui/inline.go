package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// ErrStuck is wrapped by the error of WatchRollout when a rollout has been stuck for too long.
var ErrStuck = errors.New("rollout is stuck")

// WatchOptions say which rollout to watch.
type WatchOptions struct {
	Kind, Name string        // an empty Kind matches any kind
	Patience   time.Duration // how long a rollout may be stuck before the watch gives up; 30 s if 0
	Live       bool          // Out is a terminal: redraw in place instead of writing a line for every change
}

// WatchRollout shows one rollout of Options.Namespace until it is complete. On a terminal it draws a bar and the pods in
// place; elsewhere it writes a line whenever something changed.
func WatchRollout(ctx context.Context, o Options, wo WatchOptions) error {
	if wo.Patience == 0 {
		wo.Patience = 30 * time.Second
	}
	var stuck time.Time
	return inline(ctx, o, wo.Live, func(st *kit.Styles, v viewState, width int) (string, bool, error) {
		if !v.snap.Has("deployments") || !v.snap.Has("statefulsets") || !v.snap.Has("daemonsets") || !v.snap.Has("pods") || !v.snap.Has("replicasets") {
			return "", false, nil
		}
		r := findRollout(v, o.Namespace, wo)
		if r == nil {
			return "", true, fmt.Errorf("watch rollout: no Deployment, StatefulSet or DaemonSet %s/%s", o.Namespace, wo.Name)
		}
		if r.State != observe.RolloutStuck {
			stuck = time.Time{}
		} else if stuck.IsZero() {
			stuck = v.now
		}
		view := rolloutLine(st, r, v)
		if wo.Live {
			view = rolloutBlock(st, r, v, width)
		}
		switch {
		case !r.Moving():
			return view, true, nil
		case !stuck.IsZero() && v.now.Sub(stuck) >= wo.Patience:
			return view, true, fmt.Errorf("%w: %s", ErrStuck, r.Why)
		}
		return view, false, nil
	})
}

// findRollout returns the rollout to watch, or nil if there is none.
func findRollout(v viewState, namespace string, wo WatchOptions) *observe.Rollout {
	for _, r := range observe.Rollouts(v.snap, v.now) {
		if r.Namespace == namespace && r.Name == wo.Name && (wo.Kind == "" || strings.EqualFold(r.Kind, wo.Kind) || shortKind(r.Kind) == wo.Kind) {
			return &r
		}
	}
	return nil
}

// rolloutLine describes a rollout in one line for a log. The line changes only when the rollout does.
func rolloutLine(st *kit.Styles, r *observe.Rollout, _ viewState) string {
	s := fmt.Sprintf("%s/%s  revision %d  %d desired, %d updated, %d ready, %d available  %s", r.Namespace, r.Name, r.Revision, r.Desired, r.Updated, r.Ready, r.Available, r.State)
	if r.Why != "" {
		s += ": " + kit.Clean(r.Why)
	}
	return st.Text.Render(s)
}

// rolloutBlock describes a rollout as a progress bar with its pods below.
func rolloutBlock(st *kit.Styles, r *observe.Rollout, v viewState, width int) string {
	width = min(width, 100)
	lines := []string{
		st.Dot(levelOf(r.Level)) + " " + st.Title.Render(r.Namespace+"/"+r.Name) + "  " + statusText(st, r),
		"  " + progressBar(st, r, max(10, min(50, width-40))) + st.Dim.Render(fmt.Sprintf("  %d/%d ready, %d updated", r.Ready, r.Desired, r.Updated)),
	}
	for _, rev := range observe.Revisions(v.snap, r) {
		if len(rev.Pods) == 0 {
			continue
		}
		dots := ""
		for i, p := range rev.Pods {
			if i == 40 {
				dots += "…"
				break
			}
			dots += st.Dot(levelOf(observe.PodStateOf(p, v.now).Level))
		}
		lines = append(lines, st.Dim.Render(kit.Fit(fmt.Sprintf("  revision %d", rev.Number), 16))+dots+st.Dim.Render("  "+kit.Count(len(rev.Pods), "pod")))
	}
	for i, l := range lines {
		lines[i] = kit.Cut(l, width)
	}
	return strings.Join(lines, "\n")
}

// TopOptions say what to list.
type TopOptions struct {
	Nodes bool // nodes instead of pods
	N     int  // rows; 20 if 0
	Live  bool // Out is a terminal: keep redrawing until the person quits
}

// Top lists the pods (of Options.Namespace, if it is set) or the nodes that use most CPU, once, or repeatedly on a
// terminal.
func Top(ctx context.Context, o Options, to TopOptions) error {
	if to.N == 0 {
		to.N = 20
	}
	x := newMetrics(nil)
	if to.Nodes {
		x.part = metricNodes
	}
	since := o.clock()
	return inline(ctx, o, to.Live, func(st *kit.Styles, v viewState, width int) (string, bool, error) {
		u := v.snap.Usage
		if u == nil || len(u.Pods) == 0 && u.Err == "" || !v.snap.Has("pods") || !v.snap.Has("nodes") {
			return st.Dim.Render("asking metrics.k8s.io …"), false, nil
		}
		if u.Err != "" && len(u.Pods) == 0 {
			if v.now.Sub(since) < 20*time.Second && strings.Contains(u.Err, "not ready") {
				return st.Dim.Render("metrics are not available yet …"), false, nil
			}
			return "", true, fmt.Errorf("read metrics: %s", u.Err)
		}
		v.namespace = o.Namespace
		x.setState(v)
		x.usage.Cursor = 0
		x.usage.Resize(kit.Area{W: min(width, 140), H: min(to.N, len(x.rows)) + 1}, 0)
		return strings.TrimRight(x.usage.View(st, false), "\n"), !to.Live, nil
	})
}

// step returns the view of a state, in a width, and whether it is the last one.
type step func(st *kit.Styles, v viewState, width int) (view string, end bool, err error)

// inline draws each snapshot with step, below the prompt, until step says that the view is the last one. The last view
// stays on the terminal.
func inline(ctx context.Context, o Options, live bool, step step) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	observe.LogClients(o.Logger)
	s, err := connect(ctx, o.Target, o)
	if err != nil {
		return err
	}
	defer s.close()
	st := kit.NewStyles(rendererOf(o.Out))
	if !live {
		return inlinePlain(ctx, o, s, st, step)
	}
	m := &inlineModel{s: s, st: st, step: step, opts: o, width: 80}
	opts := []tea.ProgramOption{tea.WithContext(ctx), tea.WithOutput(o.Out), tea.WithFPS(15)}
	if o.In != nil {
		opts = append(opts, tea.WithInput(o.In))
	}
	if _, err := tea.NewProgram(m, opts...).Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("run the view: %w", err)
	}
	return m.err
}

// inlinePlain writes a view whenever it has changed.
func inlinePlain(ctx context.Context, o Options, s *session, st *kit.Styles, step step) error {
	last := ""
	for {
		snap, changed := s.source.Snapshot()
		if c := snap.Conn; c.State == observe.Connecting && c.Err != "" {
			return fmt.Errorf("connect to %s: %s", o.Target.Name, c.Err)
		}
		v := viewState{snap: snap, now: o.clock()}
		view, end, err := step(st, v, 160)
		text := trimRight(ansi.Strip(view))
		if text != last && text != "" && !strings.HasSuffix(text, "…") {
			last = text
			if _, err := io.WriteString(o.Out, text+"\n"); err != nil {
				return fmt.Errorf("write: %w", err)
			}
		}
		if end {
			return err
		}
		timer := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-changed:
		case <-timer.C: // the view may depend on the time alone
		}
		timer.Stop()
	}
}

// inlineModel redraws a view in place.
type inlineModel struct {
	s     *session
	st    *kit.Styles
	step  step
	opts  Options
	state viewState
	width int
	text  string
	err   error
}

// Init implements tea.Model.
func (m *inlineModel) Init() tea.Cmd { return tea.Batch(m.s.first(), tick()) }

// Update implements tea.Model.
func (m *inlineModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width = msg.Width
		return m, nil
	case tea.KeyMsg:
		switch msg.String() {
		case "q", "ctrl+c", "esc":
			return m, tea.Quit
		}
		return m, nil
	case snapshotMsg:
		m.state.snap = msg.snap
		cmd = m.s.next(msg.changed)
	case tickMsg:
		cmd = tick()
	default:
		return m, nil
	}
	if m.state.snap == nil {
		return m, cmd
	}
	m.state.now = m.opts.clock()
	view, end, err := m.step(m.st, m.state, m.width)
	m.text = view
	if c := m.state.snap.Conn; c.State != observe.Live && c.Err != "" {
		m.text = m.st.Warn.Render("▲ no connection: "+kit.Clean(c.Err)) + "\n" + m.st.Dim.Render(ansi.Strip(view))
	}
	if end {
		m.err = err
		return m, tea.Quit
	}
	return m, cmd
}

// View implements tea.Model.
func (m *inlineModel) View() string { return m.text + "\n" }
