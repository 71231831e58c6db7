package tour

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// Outcome is how a scenario ended.
type Outcome string

// Outcomes of scenarios.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"  // a check did not hold, or the scenario could not be run
	Skipped Outcome = "skipped" // the cluster lacks what the scenario needs
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

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Started  string      `xml:"timestamp,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string     `xml:"name,attr"`
	Class   string     `xml:"classname,attr"`
	Time    string     `xml:"time,attr"`
	Failure *junitText `xml:"failure"`
	Skipped *junitText `xml:"skipped"`
	Output  string     `xml:"system-out,omitempty"`
}

type junitText struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as a JUnit test suite, a test case for each scenario, in the form that CI systems read.
func (r *Report) WriteJUnit(w io.Writer) error {
	suite := junitSuite{
		Name: "kl tour", Tests: len(r.Scenarios), Failures: r.Failed, Skipped: r.Skipped,
		Time: seconds(r.Seconds), Started: r.Started.UTC().Format("2006-01-02T15:04:05"),
	}
	for _, s := range r.Scenarios {
		c := junitCase{Name: s.Name, Class: "kl.tour", Time: seconds(s.Seconds), Output: transcript(s)}
		switch s.Outcome {
		case Failed:
			c.Failure = &junitText{Message: firstLine(s.Reason), Text: s.Reason}
		case Skipped:
			c.Skipped = &junitText{Message: s.Reason}
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func seconds(s float64) string { return fmt.Sprintf("%.1f", s) }

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
