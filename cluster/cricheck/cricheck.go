// Package cricheck is the result of `kl cri check`: what became of each spec of the CRI validation suite. The program that runs
// the suite in a node writes a Spec a line, as JSON, and kl reads them:
//
//	err := cricheck.Read(stdout, func(s cricheck.Spec) { report.Add(s) })
package cricheck

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// Outcome is what became of a spec.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Spec is what became of one spec of the suite.
type Spec struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	Seconds float64 `json:"seconds"`
	Reason  string  `json:"reason,omitempty"` // why it was skipped, or what failed
	Log     string  `json:"log,omitempty"`    // what a failed spec did
}

// Report is a run of the suite on one node.
type Report struct {
	Node    string    `json:"node"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Passed  int       `json:"passed"`
	Failed  int       `json:"failed"`
	Skipped int       `json:"skipped"`
	Specs   []Spec    `json:"specs"`
}

// Add appends a spec and counts it.
func (r *Report) Add(s Spec) {
	r.Specs = append(r.Specs, s)
	switch s.Outcome {
	case Passed:
		r.Passed++
	case Skipped:
		r.Skipped++
	default:
		r.Failed++
	}
}

// Read calls use for each line of in, until in ends.
func Read(in io.Reader, use func(Spec)) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var s Spec
			if err := json.Unmarshal(line, &s); err != nil || s.Name == "" {
				return fmt.Errorf("the node's answer is not a result: %.80q", line)
			}
			use(s)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Host     string      `xml:"hostname,attr"`
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

// WriteJUnit writes the report as a JUnit test suite, in the form that CI systems read.
func (r *Report) WriteJUnit(w io.Writer) error {
	suite := junitSuite{
		Name: "kl cri check", Host: r.Node, Tests: len(r.Specs), Failures: r.Failed, Skipped: r.Skipped,
		Time: seconds(r.Seconds), Started: r.Started.UTC().Format("2006-01-02T15:04:05"),
	}
	for _, s := range r.Specs {
		c := junitCase{Name: s.Name, Class: "kl.cri", Time: seconds(s.Seconds), Output: s.Log}
		switch s.Outcome {
		case Failed:
			first, _, _ := strings.Cut(s.Reason, "\n")
			c.Failure = &junitText{Message: first, Text: s.Reason}
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
