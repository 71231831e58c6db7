// Package cricheck is the result of `kl cri check`: what became of each spec of the CRI validation suite. The program that runs
// the suite in a node writes a Spec a line, as JSON, and kl reads them:
//
//	err := cricheck.Read(stdout, func(s cricheck.Spec) { report.Add(s) })
package cricheck

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/klkube/kl/cluster/junit"
)

// Outcome is what became of a spec.
type Outcome = junit.Outcome

// The outcomes.
const (
	Passed  = junit.Passed
	Failed  = junit.Failed
	Skipped = junit.Skipped
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

// WriteJUnit writes the report as a JUnit test suite, in the form that CI systems read.
func (r *Report) WriteJUnit(w io.Writer) error {
	suite := junit.Suite{Name: "kl cri check", Host: r.Node, Started: r.Started, Seconds: r.Seconds}
	for _, s := range r.Specs {
		suite.Cases = append(suite.Cases, junit.Case{
			Name: s.Name, Class: "kl.cri", Seconds: s.Seconds, Outcome: s.Outcome, Reason: s.Reason, Output: s.Log,
		})
	}
	return junit.Write(w, suite)
}
