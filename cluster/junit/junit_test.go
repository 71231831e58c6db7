package junit_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/klkube/kl/cluster/junit"
)

func TestWrite(t *testing.T) {
	var b bytes.Buffer
	err := junit.Write(&b, junit.Suite{Name: "s", Host: "n1", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 1.55, Cases: []junit.Case{
		{Name: "a", Class: "c", Seconds: 1, Outcome: junit.Passed, Reason: "not said", Output: "<out>"},
		{Name: "b", Class: "c", Outcome: junit.Failed, Reason: "no\nmore"},
		{Name: "d", Class: "c", Outcome: junit.Skipped, Reason: "needs metrics"},
	}})
	const want = `<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="s" hostname="n1" tests="3" failures="1" skipped="1" time="1.6" timestamp="2026-01-02T03:04:05">
  <testcase name="a" classname="c" time="1.0">
    <system-out>&lt;out&gt;</system-out>
  </testcase>
  <testcase name="b" classname="c" time="0.0">
    <failure message="no">no&#xA;more</failure>
  </testcase>
  <testcase name="d" classname="c" time="0.0">
    <skipped message="needs metrics"></skipped>
  </testcase>
</testsuite>
`
	if got := b.String(); err != nil || got != want {
		t.Errorf("%v: got\n%s\nwant\n%s", err, got, want)
	}
}
