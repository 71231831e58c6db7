package ui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// Options say which cluster to show and where. Target and Out are required.
type Options struct {
	Target    observe.Target
	Targets   func(context.Context) ([]observe.Target, error) // the clusters that can be opened; nil means only Target
	Namespace string                                          // the first namespace; empty means all
	Screen    string                                          // the first screen; empty means Overview
	Only      bool                                            // request nothing outside Namespace, for users who have access to one only
	In        io.Reader                                       // the terminal; nil means standard input
	Out       io.Writer
	Logger    *slog.Logger // never the terminal; nil discards

	// NodeVerb runs a verb of 'kl node' (stop, start, kill, partition, heal) on a node; nil means there are no verbs.
	NodeVerb func(ctx context.Context, t observe.Target, node, verb string) error
	// NodeShell returns the command that opens a shell in a node; nil means there is none.
	NodeShell func(ctx context.Context, t observe.Target, node string) *exec.Cmd

	// Kubectl returns the command that runs kubectl with arguments on a cluster; nil means there is none.
	Kubectl func(ctx context.Context, t observe.Target, args []string) (*exec.Cmd, error)

	News <-chan News // shown in the first line; nil means none

	Clock func() time.Time // time.Now if nil
}

// News is something that happens outside of the dashboard, such as a step of 'kl up'.
type News struct {
	Text string
	Done bool // no more news will come
}

func (o *Options) clock() time.Time {
	if o.Clock == nil {
		return time.Now()
	}
	return o.Clock()
}

// only is the namespace that all requests are limited to; empty means all.
func (o *Options) only() string {
	if o.Only {
		return o.Namespace
	}
	return ""
}

// Run shows the dashboard until the user quits or ctx is done. It always restores the terminal; a panic in the dashboard is
// returned as an error.
func Run(ctx context.Context, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	observe.LogClients(o.Logger)
	defer debug.SetGCPercent(debug.SetGCPercent(50)) // a dashboard may be open all day: memory matters more than CPU
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newModel(o, kit.NewStyles(rendererOf(o.Out)))
	m.connectWith(ctx)
	opts := []tea.ProgramOption{tea.WithContext(ctx), tea.WithAltScreen(), tea.WithMouseCellMotion(), tea.WithOutput(o.Out), tea.WithFPS(60)}
	if o.In != nil {
		opts = append(opts, tea.WithInput(o.In))
	}
	_, err := tea.NewProgram(m, opts...).Run()
	if m.conn != nil {
		m.conn.close()
	}
	switch {
	case errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("run the interface: %w", err)
	}
	return nil
}

// rendererOf returns a renderer for a stream. It reuses the background colour that was found when the program started:
// asking a terminal that does not answer takes seconds.
func rendererOf(out io.Writer) *lipgloss.Renderer {
	r := lipgloss.NewRenderer(out)
	r.SetHasDarkBackground(lipgloss.HasDarkBackground())
	return r
}

// connectWith gives the model the commands that need ctx.
func (m *Model) connectWith(ctx context.Context) {
	opts := m.opts
	m.connect = func(t observe.Target) tea.Cmd {
		return func() tea.Msg {
			s, err := connect(ctx, t, opts)
			return connectedMsg{s, t, err}
		}
	}
	m.news = func() tea.Msg {
		select {
		case n := <-opts.News: // a nil channel never receives
			return newsMsg(n)
		case <-ctx.Done():
			return nil
		}
	}
	m.targets = func() tea.Msg {
		if opts.Targets == nil {
			return targetsMsg{targets: []observe.Target{opts.Target}}
		}
		list, err := opts.Targets(ctx)
		return targetsMsg{list, err}
	}
}

// Screens lists the names of the screens, as in Options.Screen.
func Screens() []string {
	var out []string
	for _, n := range screenNames() {
		out = append(out, strings.ToLower(n))
	}
	return out
}

// HasScreen reports whether name is valid for Options.Screen.
func HasScreen(name string) bool {
	return name == "" || slices.Contains(Screens(), strings.ToLower(name))
}
