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

// Options say what to show and where. Target and Out are required.
type Options struct {
	Target    observe.Target
	Targets   func(context.Context) ([]observe.Target, error) // what one can switch to
	Namespace string                                          // to begin with; empty means all
	Screen    string                                          // to begin with; empty means Overview
	Only      bool                                            // ask for nothing outside Namespace: for people with rights in one
	In        io.Reader                                       // the terminal; nil means standard input
	Out       io.Writer
	Logger    *slog.Logger // never the terminal; nil discards

	// NodeVerb runs one of kl's verbs (stop, start, kill, partition, heal) on a node; nil where there are none.
	NodeVerb func(ctx context.Context, t observe.Target, node, verb string) error
	// NodeShell is the command that opens a shell in a node.
	NodeShell func(ctx context.Context, t observe.Target, node string) *exec.Cmd

	News <-chan News // of whoever started the dashboard, shown in the first line; nil if there is none

	Clock func() time.Time // time.Now if nil
}

// News is what goes on outside of the dashboard.
type News struct {
	Text string
	Done bool // this was the last
}

func (o *Options) clock() time.Time {
	if o.Clock == nil {
		return time.Now()
	}
	return o.Clock()
}

// only is the namespace that everything asked for is limited to.
func (o *Options) only() string {
	if o.Only {
		return o.Namespace
	}
	return ""
}

// Run shows the dashboard until the person quits or ctx is done. The terminal is as it was when it returns, whatever
// happened; a panic of the interface comes back as an error.
func Run(ctx context.Context, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	quiet(o.Logger)
	defer debug.SetGCPercent(debug.SetGCPercent(50)) // left open beside an editor all day: memory counts more than CPU
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

// rendererOf is a renderer for a stream. Whether the terminal is dark was asked when the program began; asking again
// could cost seconds on a terminal that does not answer.
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
			s, err := connect(ctx, t, opts.only(), opts.Logger)
			return connectedMsg{s, t, err}
		}
	}
	m.news = func() tea.Msg {
		select {
		case n := <-opts.News: // never, if there are none
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

// Screens lists the names of the screens, as Options.Screen takes them.
func Screens() []string {
	var out []string
	for _, n := range screenNames() {
		out = append(out, strings.ToLower(n))
	}
	return out
}

// HasScreen reports whether there is a screen of that name; the empty name is the first.
func HasScreen(name string) bool {
	return name == "" || slices.Contains(Screens(), strings.ToLower(name))
}
