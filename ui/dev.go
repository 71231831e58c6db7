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
	"golang.org/x/sync/errgroup"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/dev"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// crashLines is how many lines of the log of a container that crashed are shown.
const crashLines = 10

// DevOptions say which builds matter.
type DevOptions struct {
	Engine cluster.ImageWatcher // where images are built
	Images []string             // as dev.FullName returns them; empty for all that workloads use
	Live   bool                 // Out is a terminal: redraw workloads that roll in place
}

// Dev rolls the workloads of Options.Namespace, of all if that is empty, whenever an image that they use has been built, and says how far
// they are. It goes on until ctx is done, the user quits, or the engine goes away.
func Dev(ctx context.Context, o Options, d DevOptions) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	observe.LogClients(o.Logger)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := connect(ctx, o.Target, o)
	if err != nil {
		return err
	}
	defer s.close()
	loop := &devLoop{
		o: o, d: d, s: s, tracker: dev.NewTracker(o.Namespace, d.Images), asked: map[string]bool{}, began: o.clock(),
		wanted: map[observe.Ref]dev.Build{}, busy: map[observe.Ref]bool{}, builds: make(chan dev.Build), results: make(chan func() []string),
	}
	if !d.Live {
		return loop.run(ctx, func(lines, _ []string) error {
			if len(lines) == 0 {
				return nil
			}
			_, err := io.WriteString(o.Out, strings.Join(lines, "\n")+"\n")
			return err
		})
	}
	opts := []tea.ProgramOption{tea.WithContext(ctx), tea.WithOutput(o.Out), tea.WithFPS(15)}
	if o.In != nil {
		opts = append(opts, tea.WithInput(o.In))
	}
	program := tea.NewProgram(&devModel{st: kit.NewStyles(rendererOf(o.Out)), width: 80}, opts...)
	ended := make(chan error, 1)
	go func() {
		ended <- loop.run(ctx, func(lines, active []string) error {
			program.Send(devMsg{lines, active})
			return nil
		})
		program.Quit()
	}()
	_, err = program.Run()
	if ctx.Err() != nil {
		err = nil // the program says that it was killed
	}
	cancel()
	if loopErr := <-ended; !errors.Is(loopErr, context.Canceled) {
		err = errors.Join(err, loopErr)
	}
	return err
}

// devLoop brings builds, snapshots and what was asked for together. All but builds and results belongs to one goroutine.
type devLoop struct {
	o       Options
	d       DevOptions
	s       *session
	tracker *dev.Tracker
	began   time.Time
	asked   map[string]bool           // names that the engine was asked for
	wanted  map[observe.Ref]dev.Build // to be rolled for
	busy    map[observe.Ref]bool      // a request about it is under way
	greeted bool
	stale   bool // the cluster does not answer
	work    errgroup.Group

	builds  chan dev.Build
	results chan func() []string // called in the loop; they return lines
}

// run shows lines once, and the lines of workloads that roll, until ctx is done.
func (l *devLoop) run(ctx context.Context, show func(lines, active []string) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer func() { cancel(); _ = l.work.Wait() }() // nothing that was asked for has an error
	lost := make(chan error, 1)
	l.work.Go(func() error {
		lost <- l.d.Engine.WatchImages(ctx, l.began, func(name string, image cluster.EngineImage) { l.named(ctx, name, image.ID) })
		return nil
	})
	every := time.NewTicker(l.interval())
	defer every.Stop()
	var lines []string
	for {
		snap, changed := l.s.source.Snapshot()
		if c := snap.Conn; c.State == observe.Connecting && c.Err != "" {
			return fmt.Errorf("connect to %s: %s", l.o.Target.Name, c.Err)
		}
		builds := l.builds
		if snap.Stale() {
			builds = nil // they wait
		}
		if listed(snap) {
			lines = append(append(lines, l.greet()...), l.connection(snap)...)
			more, active := l.look(ctx, snap)
			if err := show(clean(append(lines, more...)), clean(active)); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			lines = nil
		} else {
			builds = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return err
		case b := <-builds:
			lines = l.built(ctx, b, snap)
		case result := <-l.results:
			lines = result()
		case <-changed:
		case <-every.C:
		}
	}
}

// interval is how often what depends on the time alone is looked at.
func (l *devLoop) interval() time.Duration {
	if l.d.Live {
		return 100 * time.Millisecond
	}
	return time.Second
}

// listed reports whether a snapshot has what Dev looks at.
func listed(s *observe.Snapshot) bool {
	for _, kind := range []string{"deployments", "statefulsets", "daemonsets", "replicasets", "controllerrevisions", "pods"} {
		if !s.Has(kind) {
			return false
		}
	}
	return true
}

func (l *devLoop) greet() []string {
	if l.greeted {
		return nil
	}
	l.greeted = true
	return []string{"Watching builds for cluster " + l.o.Target.Name + ". Ctrl-C ends."}
}

// connection says when the cluster does not answer any more, and when it does again.
func (l *devLoop) connection(s *observe.Snapshot) []string {
	if s.Stale() == l.stale {
		return nil
	}
	l.stale = s.Stale()
	if l.stale {
		return []string{"Cluster " + l.o.Target.Name + " does not answer; builds wait until it does."}
	}
	return []string{"Cluster " + l.o.Target.Name + " answers again."}
}

// named passes on that an image got a name.
func (l *devLoop) named(ctx context.Context, name, id string) {
	full := dev.FullName(name)
	if full == "" {
		return
	}
	select {
	case l.builds <- dev.Build{Name: full, ID: id, At: l.o.clock()}:
	case <-ctx.Done():
	}
}

// built rolls what uses an image.
func (l *devLoop) built(ctx context.Context, b dev.Build, snap *observe.Snapshot) []string {
	restart, lines := l.tracker.Built(b, snap, l.o.clock())
	for _, ref := range restart {
		l.wanted[ref] = b
		l.restart(ctx, ref)
	}
	return lines
}

// restart rolls a workload for the newest build. Requests about one follow each other, or an older build might come last.
func (l *devLoop) restart(ctx context.Context, ref observe.Ref) {
	b, wanted := l.wanted[ref]
	if !wanted || l.busy[ref] {
		return
	}
	delete(l.wanted, ref)
	l.busy[ref] = true
	l.ask(ctx, func() func() []string {
		err := l.s.act.Restart(ctx, ref, l.o.clock(), map[string]string{dev.Annotation: b.ID})
		return func() (lines []string) {
			if err != nil {
				lines = l.tracker.Refused(ref, b, l.o.clock(), err)
			}
			l.busy[ref] = false
			l.restart(ctx, ref)
			return lines
		}
	})
}

// look compares the workloads with a snapshot, and asks for what it does not say.
func (l *devLoop) look(ctx context.Context, snap *observe.Snapshot) (lines, active []string) {
	now := l.o.clock()
	for _, name := range l.tracker.Unknown(snap, now) {
		if l.asked[name] {
			continue
		}
		l.asked[name] = true
		l.ask(ctx, func() func() []string {
			image, err := l.d.Engine.FindImage(ctx, name)
			return func() []string {
				if err == nil && image.Tagged.Before(l.began) { // else its build is still to be told
					l.tracker.Know(name, image.ID)
				}
				return nil
			}
		})
	}
	view := l.tracker.Look(snap, now)
	for _, u := range view.Updates {
		if !u.Progress || !l.d.Live {
			lines = append(lines, u.Text)
		}
		if u.Log != nil {
			l.ask(ctx, func() func() []string {
				log := l.log(ctx, *u.Log)
				return func() []string { return log }
			})
		}
	}
	return lines, view.Active
}

// ask calls a function that takes its time, and in the loop what that returns.
func (l *devLoop) ask(ctx context.Context, f func() func() []string) {
	l.work.Go(func() error {
		result := f()
		select {
		case l.results <- result:
		case <-ctx.Done():
		}
		return nil
	})
}

// log returns the last lines of a container's log.
func (l *devLoop) log(ctx context.Context, log dev.Log) []string {
	var lines []string
	for line := range l.s.act.Logs(ctx, []observe.LogSource{log.Source}, observe.LogOptions{Previous: log.Previous, Tail: crashLines}) {
		if line.Err != nil {
			l.o.Logger.Debug("read the log of a container that crashed", "pod", log.Source.Pod, "err", line.Err)
			continue
		}
		lines = append(lines, "  | "+line.Text)
	}
	return lines
}

func clean(lines []string) []string {
	for i, line := range lines {
		lines[i] = kit.Clean(line)
	}
	return lines
}

// devMsg brings lines to keep above, and those that change.
type devMsg struct{ lines, active []string }

// devModel redraws the lines that change.
type devModel struct {
	st     *kit.Styles
	active []string
	width  int
}

// Init implements tea.Model.
func (m *devModel) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (m *devModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		if msg.Width > 0 { // some terminals do not say
			m.width = msg.Width
		}
	case tea.KeyMsg:
		switch msg.String() {
		case "q", "ctrl+c", "esc":
			return m, tea.Quit
		}
	case devMsg:
		m.active = msg.active
		if len(msg.lines) > 0 {
			return m, tea.Println(strings.Join(msg.lines, "\n"))
		}
	}
	return m, nil
}

// View implements tea.Model.
func (m *devModel) View() string {
	if len(m.active) == 0 {
		return m.st.Dim.Render("waiting for a build …") + "\n"
	}
	lines := make([]string, len(m.active))
	for i, line := range m.active {
		lines[i] = kit.Cut(m.st.Text.Render(line), m.width)
	}
	return strings.Join(lines, "\n") + "\n"
}
