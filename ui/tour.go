package ui

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/charmbracelet/bubbles/spinner"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"

	"github.com/klkube/kl/cluster/tour"
	"github.com/klkube/kl/ui/kit"
)

// Tour shows scenarios on a terminal while they run: the step, its command, what it prints, the checks, and a bar while a rollout
// goes on. Scenarios that have ended become one line each.
type Tour struct {
	program *tea.Program
	done    chan struct{}
}

// NewTour returns the view of a run of scenarios. Close it.
func NewTour(out io.Writer, scenarios []*tour.Scenario) *Tour {
	// The program does not read the terminal, so that Ctrl-C is a signal as in any other command.
	program := tea.NewProgram(newTourModel(kit.NewStyles(lipgloss.NewRenderer(out)), scenarios), tea.WithOutput(out), tea.WithInput(nil),
		tea.WithoutSignalHandler(), tea.WithFPS(30))
	t := &Tour{program: program, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		_, _ = program.Run() // what is shown is not worth failing for
	}()
	return t
}

// Event shows what happened. It may be called concurrently.
func (t *Tour) Event(e tour.Event) { t.program.Send(tourMsg(e)) }

// Close draws the last state and releases the terminal.
func (t *Tour) Close() {
	t.program.Send(tourEndMsg{})
	<-t.done
}

type (
	tourMsg    tour.Event
	tourEndMsg struct{}
)

// tourModel is the part of the terminal that is drawn again and again. What has ended is printed above it.
type tourModel struct {
	styles  *kit.Styles
	spinner spinner.Model
	area    kit.Area
	total   int
	ended   int
	failed  int
	closed  bool
	running []*tourBlock // in the order in which they began
}

// tourBlock is a scenario that is running.
type tourBlock struct {
	scenario *tour.Scenario
	step     int
	say      string
	command  string
	output   []string // the latest lines
	waiting  string
	part, of int // of a rollout; of is 0 without one
	checks   []tour.Check
}

// tourLinesKept is how many lines of output are shown.
const tourLinesKept = 4

func newTourModel(st *kit.Styles, scenarios []*tour.Scenario) tourModel {
	return tourModel{styles: st, spinner: spinner.New(spinner.WithSpinner(spinner.MiniDot)), area: kit.Area{W: 80, H: 24}, total: len(scenarios)}
}

func (m tourModel) Init() tea.Cmd { return m.spinner.Tick }

func (m tourModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		if msg.Width > 0 && msg.Height > 0 { // some terminals report no size
			m.area = kit.Area{W: msg.Width, H: msg.Height}
		}
	case tourEndMsg:
		m.closed = true
		return m, tea.Quit
	case spinner.TickMsg:
		var cmd tea.Cmd
		m.spinner, cmd = m.spinner.Update(msg)
		return m, cmd
	case tourMsg:
		return m.take(tour.Event(msg))
	}
	return m, nil
}

// take brings the state up to date.
func (m tourModel) take(e tour.Event) (tea.Model, tea.Cmd) {
	if e.Kind == tour.ScenarioEnded {
		m.ended++
		if e.Result.Outcome == tour.Failed {
			m.failed++
		}
		var rest []*tourBlock
		for _, b := range m.running {
			if b.scenario != e.Scenario {
				rest = append(rest, b)
			}
		}
		m.running = rest
		return m, tea.Println(strings.Join(tourEnd(m.styles, e.Scenario, e.Result, m.area.W), "\n"))
	}
	m.block(e.Scenario).take(e)
	return m, nil
}

// block returns the block of a scenario, which begins with its first event.
func (m *tourModel) block(s *tour.Scenario) *tourBlock {
	for _, b := range m.running {
		if b.scenario == s {
			return b
		}
	}
	b := &tourBlock{scenario: s}
	m.running = append(m.running[:len(m.running):len(m.running)], b)
	return b
}

// progressOf finds how far a rollout is in what kubectl rollout status prints, such as "1 out of 3 new replicas have been updated"
// or "2 of 3 updated replicas are available".
var progressOf = regexp.MustCompile(`(\d+) (?:out )?of (\d+)`)

func (b *tourBlock) take(e tour.Event) {
	b.step = max(b.step, e.Step)
	switch e.Kind {
	case tour.StepStarted:
		if e.Text != "" {
			b.say = e.Text
		}
		b.command, b.output, b.waiting, b.checks, b.of = "", nil, "", nil, 0
	case tour.CommandStarted:
		b.command = e.Text
	case tour.OutputLine:
		b.output = append(b.output, e.Text)
		b.output = b.output[max(0, len(b.output)-tourLinesKept):]
		b.progress(e.Text)
	case tour.Waiting:
		b.waiting = e.Text
		b.progress(e.Text)
	case tour.Checked:
		b.waiting = ""
		b.checks = append(b.checks, e.Check)
	}
}

func (b *tourBlock) progress(line string) {
	m := progressOf.FindStringSubmatch(line)
	if m == nil {
		return
	}
	part, err1 := strconv.Atoi(m[1])
	of, err2 := strconv.Atoi(m[2])
	if err1 == nil && err2 == nil && of > 0 && part <= of {
		b.part, b.of = part, of
	}
}

func (m tourModel) View() string {
	if m.closed {
		return ""
	}
	var lines []string
	for _, b := range m.running {
		lines = append(lines, m.blockLines(b, len(m.running) > 1)...)
	}
	head := fmt.Sprintf(" %s %d of %d scenarios", m.spinner.View(), m.ended, m.total)
	if m.ended == m.total {
		head = " " + m.spinner.View() + " removing namespaces"
	}
	if m.failed > 0 {
		head += ", " + m.styles.Bad.Render(fmt.Sprintf("%d failed", m.failed))
	}
	lines = append(lines, m.styles.Dim.Render(head))
	if most := m.area.H - 1; len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	for i, l := range lines {
		lines[i] = kit.Cut(l, m.area.W)
	}
	return strings.Join(lines, "\n")
}

// blockLines draws a scenario that is running; short leaves out its output.
func (m tourModel) blockLines(b *tourBlock, short bool) []string {
	st, w := m.styles, m.area.W
	lines := []string{" " + st.Busy.Render(m.spinner.View()) + " " + st.Title.Render(b.scenario.Name) +
		st.Dim.Render(fmt.Sprintf("  step %d of %d", b.step, len(b.scenario.Steps)))}
	for i, line := range kit.Wrap(strings.Join(strings.Fields(b.say), " "), max(w-6, 20)) {
		if i == 3 || line == "" {
			break
		}
		lines = append(lines, "   "+kit.Clean(line))
	}
	if b.command != "" {
		lines = append(lines, st.Accent.Render("   $ "+kit.Clean(oneLine(b.command))))
	}
	if b.of > 0 {
		lines = append(lines, "     "+st.Gauge(float64(b.part)/float64(b.of), 30)+st.Dim.Render(fmt.Sprintf("  %d of %d", b.part, b.of)))
	}
	if !short {
		for _, line := range b.output {
			lines = append(lines, st.Dim.Render("     "+kit.Clean(line)))
		}
	}
	if b.waiting != "" {
		lines = append(lines, st.Warn.Render("     … ")+st.Dim.Render(kit.Clean(b.waiting)))
	}
	for _, c := range b.checks {
		lines = append(lines, tourCheck(st, c)...)
	}
	return lines
}

func tourCheck(st *kit.Styles, c tour.Check) []string {
	if c.Held {
		return []string{"   " + st.Good.Render("✓") + " " + kit.Clean(c.Expected)}
	}
	lines := []string{"   " + st.Bad.Render("✗") + " " + kit.Clean(c.Expected)}
	for line := range strings.Lines(c.Seen) {
		lines = append(lines, st.Bad.Render("     | ")+kit.Clean(strings.TrimRight(line, "\n")))
	}
	return lines
}

// tourEnd is what stays of a scenario on the terminal: one line, and the check that did not hold.
func tourEnd(st *kit.Styles, s *tour.Scenario, r *tour.Result, width int) []string {
	mark, note := st.Good.Render("✓"), fmt.Sprintf("%.1f s", r.Seconds)
	switch r.Outcome {
	case tour.Failed:
		mark = st.Bad.Render("✗")
	case tour.Skipped:
		mark, note = st.Dim.Render("–"), "skipped: "+kit.Clean(r.Reason)
	}
	lines := []string{" " + mark + " " + kit.Fit(s.Name, 22) + " " + st.Dim.Render(kit.Fit(note, 8)) + " " + kit.Clean(s.Title)}
	if r.Outcome == tour.Skipped {
		lines = []string{" " + mark + " " + kit.Fit(s.Name, 22) + " " + st.Dim.Render(note)}
	}
	lines[0] = kit.Cut(lines[0], width)
	if r.Outcome == tour.Failed {
		for line := range strings.Lines(r.Reason) {
			lines = append(lines, st.Bad.Render("     | ")+kit.Clean(strings.TrimRight(line, "\n")))
		}
	}
	return lines
}

// oneLine is the first line of a text, marked if there are more.
func oneLine(text string) string {
	line, _, more := strings.Cut(text, "\n")
	if more {
		line += " …"
	}
	return line
}
