package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/bubbles/spinner"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/ui/kit"
)

// ProgressFormat is the format of a [Progress].
type ProgressFormat string

// The formats of progress.
const (
	ProgressChecklist ProgressFormat = "checklist" // redrawn in place: for a terminal
	ProgressLines     ProgressFormat = "lines"     // one line for each event, with the time: for logs
	ProgressJSON      ProgressFormat = "json"      // one JSON document for each event
)

// Progress shows the events of a cluster that goes up or down. Events after Close are dropped.
type Progress struct {
	event  func(cluster.Event)
	close  func()
	remove func() bool
}

// NewProgress returns a Progress that writes to out.
func NewProgress(out io.Writer, format ProgressFormat) *Progress {
	stays := func() bool { return false }
	switch format {
	case ProgressJSON:
		enc := json.NewEncoder(out)
		return &Progress{func(e cluster.Event) { _ = enc.Encode(e) }, func() {}, stays}
	case ProgressLines:
		return &Progress{func(e cluster.Event) { fmt.Fprintln(out, progressLine(e)) }, func() {}, stays}
	}
	// The program does not read the terminal, so that Ctrl-C is a signal as in any other command.
	program := tea.NewProgram(newChecklist(lipgloss.NewRenderer(out), time.Now), tea.WithOutput(out), tea.WithInput(nil),
		tea.WithoutSignalHandler(), tea.WithFPS(30))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = program.Run() // progress is not worth failing for
	}()
	return &Progress{
		event:  func(e cluster.Event) { program.Send(progressMsg(e)) },
		close:  func() { program.Send(progressEndMsg{}); <-done },
		remove: func() bool { program.Send(progressEndMsg{remove: true}); <-done; return true },
	}
}

// Event shows an event. It must not be called concurrently.
func (p *Progress) Event(e cluster.Event) { p.event(e) }

// Close draws the last state and releases the terminal.
func (p *Progress) Close() { p.close() }

// Remove is like Close, but clears a checklist from the terminal. It returns false if lines were written, which stay.
func (p *Progress) Remove() bool {
	if p.remove() {
		return true
	}
	p.close()
	return false
}

// progressLine describes an event in one line.
func progressLine(e cluster.Event) string {
	var b strings.Builder
	b.WriteString(e.Time.Format("15:04:05.000 "))
	switch e.State {
	case cluster.StepStarted:
		b.WriteString(e.Step + " …")
	case cluster.StepDone:
		fmt.Fprintf(&b, "%s done in %s", e.Step, seconds(e.Seconds))
	case cluster.StepFailed:
		fmt.Fprintf(&b, "%s failed after %s", e.Step, seconds(e.Seconds))
	case cluster.StepWarning:
		b.WriteString("warning")
	case cluster.StepNote:
		return b.String() + e.Message
	default:
		b.WriteString(e.Step)
	}
	if e.Message != "" {
		b.WriteString(": " + strings.ReplaceAll(e.Message, "\n", " "))
	}
	return b.String()
}

func seconds(s float64) string { return fmt.Sprintf("%.2fs", s) }

type (
	progressMsg    cluster.Event
	progressEndMsg struct{ remove bool }
)

// checklist shows one line for each step, in the order in which they began.
type checklist struct {
	styles  progressStyles
	clock   func() time.Time
	spinner spinner.Model
	width   int
	order   []string
	steps   map[string]progressStep
	notes   []string
}

type progressStep struct {
	began time.Time
	last  cluster.Event
}

type progressStyles struct{ done, failed, busy, note, faint lipgloss.Style }

func newChecklist(r *lipgloss.Renderer, clock func() time.Time) checklist {
	// The colours of the terminal itself suit its background, so there is no need to ask for it.
	color := func(number string) lipgloss.Style { return r.NewStyle().Foreground(lipgloss.Color(number)) }
	return checklist{
		styles: progressStyles{
			done: color("2"), failed: color("1"), busy: color("4"), note: color("3"), faint: r.NewStyle().Faint(true),
		},
		clock: clock, spinner: spinner.New(spinner.WithSpinner(spinner.MiniDot)), width: 80,
		steps: map[string]progressStep{},
	}
}

func (m checklist) Init() tea.Cmd { return m.spinner.Tick }

func (m checklist) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		if msg.Width > 0 { // some terminals report no size
			m.width = msg.Width
		}
	case progressEndMsg:
		if msg.remove {
			m.order, m.notes = nil, nil
		}
		return m, tea.Quit
	case progressMsg:
		m.take(cluster.Event(msg))
	case spinner.TickMsg:
		var cmd tea.Cmd
		m.spinner, cmd = m.spinner.Update(msg)
		return m, cmd
	}
	return m, nil
}

func (m *checklist) take(e cluster.Event) {
	if e.State == cluster.StepWarning || e.State == cluster.StepNote {
		m.notes = append(m.notes, e.Message)
		return
	}
	s, known := m.steps[e.Step]
	if !known {
		m.order = append(m.order, e.Step)
		s.began = e.Time
	}
	s.last = e
	m.steps[e.Step] = s
}

func (m checklist) View() string {
	var b strings.Builder
	for _, note := range m.notes {
		for i, line := range strings.Split(ansi.Wrap(note, max(m.width-4, 10), ""), "\n") {
			mark := " "
			if i == 0 {
				mark = m.styles.note.Render("!")
			}
			b.WriteString(" " + mark + " " + line + "\n")
		}
	}
	for _, name := range m.order {
		b.WriteString(m.line(name, m.steps[name]) + "\n")
	}
	return b.String()
}

const progressNameWidth = 24

// line shows one step, cut to the width: a mark, its name, its time and its last message.
func (m checklist) line(name string, s progressStep) string {
	took, mark, text := s.last.Seconds, "", m.styles.faint.Render(s.last.Message)
	switch s.last.State {
	case cluster.StepDone:
		mark = m.styles.done.Render("✓")
	case cluster.StepFailed:
		mark, text = m.styles.failed.Render("✗"), s.last.Message
	default:
		mark = m.styles.busy.Render(m.spinner.View())
		took = max(0, m.clock().Sub(s.began).Seconds())
	}
	name = kit.Cut(name, progressNameWidth)
	pad := strings.Repeat(" ", progressNameWidth-kit.Width(name))
	line := fmt.Sprintf(" %s %s%s %6s", mark, name, pad, fmt.Sprintf("%.1fs", took))
	if s.last.Message != "" {
		line += "  " + strings.ReplaceAll(text, "\n", " ")
	}
	return kit.Cut(line, m.width)
}
