// Package junit writes results in the form of JUnit, which CI systems read: https://github.com/testmoapp/junitxml.
//
//	err := junit.Write(w, junit.Suite{Name: "kl tour", Started: began, Seconds: 1.5, Cases: []junit.Case{
//		{Name: "crd", Class: "kl.tour", Seconds: 1.5, Outcome: junit.Failed, Reason: "step 2: …"},
//	}})
package junit

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// Outcome is what became of a case.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped"
)

// Suite is a run of several cases.
type Suite struct {
	Name    string
	Host    string // where it ran; empty leaves it out
	Started time.Time
	Seconds float64
	Cases   []Case
}

// Case is one test.
type Case struct {
	Name, Class string
	Seconds     float64
	Outcome     Outcome
	Reason      string // why it failed or was skipped; the first line of a failure is its message
	Output      string
}

type xmlSuite struct {
	XMLName  xml.Name  `xml:"testsuite"`
	Name     string    `xml:"name,attr"`
	Host     string    `xml:"hostname,attr,omitempty"`
	Tests    int       `xml:"tests,attr"`
	Failures int       `xml:"failures,attr"`
	Skipped  int       `xml:"skipped,attr"`
	Time     string    `xml:"time,attr"`
	Started  string    `xml:"timestamp,attr"`
	Cases    []xmlCase `xml:"testcase"`
}

type xmlCase struct {
	Name    string   `xml:"name,attr"`
	Class   string   `xml:"classname,attr"`
	Time    string   `xml:"time,attr"`
	Failure *xmlText `xml:"failure"`
	Skipped *xmlText `xml:"skipped"`
	Output  string   `xml:"system-out,omitempty"`
}

type xmlText struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// Write writes a suite as a document.
func Write(w io.Writer, s Suite) error {
	suite := xmlSuite{
		Name: s.Name, Host: s.Host, Tests: len(s.Cases),
		Time: seconds(s.Seconds), Started: s.Started.UTC().Format("2006-01-02T15:04:05"),
	}
	for _, c := range s.Cases {
		x := xmlCase{Name: c.Name, Class: c.Class, Time: seconds(c.Seconds), Output: c.Output}
		switch c.Outcome {
		case Failed:
			first, _, _ := strings.Cut(c.Reason, "\n")
			x.Failure = &xmlText{Message: first, Text: c.Reason}
			suite.Failures++
		case Skipped:
			x.Skipped = &xmlText{Message: c.Reason}
			suite.Skipped++
		}
		suite.Cases = append(suite.Cases, x)
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
