package cmd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/klkube/kl/cluster/tour"
	"github.com/klkube/kl/ui"
)

// show runs the scenarios and shows what happens: live on a terminal, as lines elsewhere, and with -o only which ones have ended.
func (f *tourFlags) show(ctx context.Context, e *env, r *tour.Runner, chosen []*tour.Scenario) (*tour.Report, error) {
	switch {
	case f.output != "":
		r.Observe = func(ev tour.Event) {
			if ev.Kind == tour.ScenarioEnded {
				fmt.Fprintln(e.Err, endLine(ev.Result))
			}
		}
	case isTerminal(e.Out) && !f.pace:
		view := ui.NewTour(e.Out, chosen)
		defer view.Close()
		r.Observe = view.Event
	default:
		lines := &tourLines{w: e.Out, keep: f.keep, apart: f.parallel > 1, parts: map[*tour.Scenario]*bytes.Buffer{}}
		r.Observe = lines.event
	}
	if f.pace {
		keys := bufio.NewReader(e.In)
		r.Pace = func(context.Context) error {
			fmt.Fprint(e.Out, "   … Enter goes on ")
			_, err := keys.ReadString('\n')
			return wrap("wait for Enter", err)
		}
	}
	return r.Run(ctx, chosen)
}

// print prints the report of a run.
func (f *tourFlags) print(e *env, report *tour.Report) error {
	switch f.output {
	case "json":
		return printJSON(e.Out, report)
	case "junit":
		return report.WriteJUnit(e.Out)
	}
	fmt.Fprintf(e.Out, "\n%d passed, %d failed, %d skipped in %.0f s\n", report.Passed, report.Failed, report.Skipped, report.Seconds)
	for _, s := range report.Scenarios {
		if s.Outcome != tour.Passed {
			fmt.Fprintf(e.Out, "  %s\n", endLine(&s))
		}
	}
	for _, left := range report.Residue {
		fmt.Fprintf(e.Out, "  left behind by %s\n", printable(left))
	}
	return nil
}

// endLine says how a scenario ended.
func endLine(r *tour.Result) string {
	line := fmt.Sprintf("%s %s", r.Name, r.Outcome)
	if r.Outcome != tour.Skipped {
		line += fmt.Sprintf(" in %.1f s", r.Seconds)
	}
	if r.Reason != "" {
		line += ": " + printable(firstLine(r.Reason))
	}
	return line
}

// tourLines writes what happens as lines. If scenarios run side by side, those of one are written when it has ended.
type tourLines struct {
	mu    sync.Mutex
	w     io.Writer
	keep  bool
	apart bool
	parts map[*tour.Scenario]*bytes.Buffer
}

func (t *tourLines) event(e tour.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.w
	if t.apart {
		if t.parts[e.Scenario] == nil {
			t.parts[e.Scenario] = &bytes.Buffer{}
		}
		w = t.parts[e.Scenario]
	}
	t.write(w, e)
	if e.Kind == tour.ScenarioEnded && t.apart {
		_, _ = t.w.Write(t.parts[e.Scenario].Bytes())
		delete(t.parts, e.Scenario)
	}
}

// write writes an event.
func (t *tourLines) write(w io.Writer, e tour.Event) {
	switch e.Kind {
	case tour.ScenarioStarted:
		fmt.Fprintf(w, "\n== %s: %s\n", e.Scenario.Name, e.Scenario.Title)
		if t.keep {
			fmt.Fprintf(w, "   to type along: cd %s && . ./env\n", e.Text)
		}
	case tour.StepStarted:
		if e.Text != "" {
			fmt.Fprintf(w, "\n-- %s\n", strings.Join(strings.Fields(e.Text), " "))
		}
	case tour.CommandStarted:
		fmt.Fprintf(w, "   $ %s\n", strings.ReplaceAll(e.Text, "\n", "\n     "))
	case tour.OutputLine:
		fmt.Fprintf(w, "     %s\n", printable(e.Text))
	case tour.Checked:
		if e.Check.Held {
			fmt.Fprintf(w, "   ok: %s\n", printable(e.Check.Expected))
			return
		}
		fmt.Fprintf(w, "   NOT: %s\n", printable(e.Check.Expected))
		for line := range strings.Lines(e.Check.Seen) {
			fmt.Fprintf(w, "      | %s\n", printable(strings.TrimRight(line, "\n")))
		}
	case tour.ScenarioEnded:
		fmt.Fprintf(w, "\n== %s\n", endLine(e.Result))
	}
}
