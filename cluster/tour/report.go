package tour

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klkube/kl/cluster/junit"
)

// Outcome is how a scenario ended.
type Outcome = junit.Outcome

// Outcomes of scenarios.
const (
	Passed  = junit.Passed
	Failed  = junit.Failed  // a check did not hold, or the scenario could not be run
	Skipped = junit.Skipped // the cluster lacks what the scenario needs
)

// Report is what a run of several scenarios found.
type Report struct {
	Cluster string    `json:"cluster"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Passed  int       `json:"passed"`
	Failed  int       `json:"failed"`
	Skipped int       `json:"skipped"`
	// Scenarios are in the order in which they were asked for.
	Scenarios []Result `json:"scenarios"`
	// Residue is what could not be removed afterwards.
	Residue []string `json:"residue,omitempty"`
}

// Result is what became of one scenario.
type Result struct {
	Name    string  `json:"name"`
	Title   string  `json:"title"`
	Feature string  `json:"feature"`
	Outcome Outcome `json:"outcome"`
	// Reason says what is missing, or which check did not hold.
	Reason  string       `json:"reason,omitempty"`
	Seconds float64      `json:"seconds"`
	Steps   []StepResult `json:"steps,omitempty"`
}

// StepResult is what became of one step. Steps after the first failed one are not run.
type StepResult struct {
	Say     string  `json:"say,omitempty"`
	Command string  `json:"command,omitempty"`
	Seconds float64 `json:"seconds"`
	Checks  []Check `json:"checks,omitempty"`
}

// count fills in the numbers.
func (r *Report) count() {
	for _, s := range r.Scenarios {
		switch s.Outcome {
		case Passed:
			r.Passed++
		case Skipped:
			r.Skipped++
		default:
			r.Failed++
		}
	}
}

// WriteJUnit writes the report as a JUnit test suite, a test case for each scenario, in the form that CI systems read.
func (r *Report) WriteJUnit(w io.Writer) error {
	suite := junit.Suite{Name: "kl tour", Started: r.Started, Seconds: r.Seconds}
	for _, s := range r.Scenarios {
		suite.Cases = append(suite.Cases, junit.Case{
			Name: s.Name, Class: "kl.tour", Seconds: s.Seconds, Outcome: s.Outcome, Reason: s.Reason, Output: transcript(s),
		})
	}
	return junit.Write(w, suite)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// transcript is a scenario's steps as text.
func transcript(s Result) string {
	var b strings.Builder
	for _, step := range s.Steps {
		if step.Say != "" {
			fmt.Fprintf(&b, "%s\n", step.Say)
		}
		if step.Command != "" {
			fmt.Fprintf(&b, "$ %s\n", step.Command)
		}
		for _, c := range step.Checks {
			mark := "ok"
			if !c.Held {
				mark = "FAILED"
			}
			fmt.Fprintf(&b, "  %s: %s\n", mark, c.Expected)
		}
	}
	return b.String()
}
