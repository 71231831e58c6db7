package cricheck_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster/cricheck"
)

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		specs    int
		fails    bool
	}{
		{"nothing", "", 0, false},
		{"two, and the last line has no end", `{"name":"a","outcome":"passed"}` + "\n" + `{"name":"b","outcome":"failed"}`, 2, false},
		{"no JSON", "panic: what\n", 0, true},
		{"no name", "{}\n", 0, true},
		{"a line that is cut", `{"name":"a","outcome":"passed"}` + "\n" + `{"name":"b","outc`, 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			err := cricheck.Read(strings.NewReader(tt.in), func(cricheck.Spec) { n++ })
			if n != tt.specs || (err != nil) != tt.fails {
				t.Errorf("%d specs, error %v", n, err)
			}
		})
	}
}

func TestJUnit(t *testing.T) {
	r := cricheck.Report{Node: "n1", Started: time.Unix(0, 0), Seconds: 2.5}
	r.Add(cricheck.Spec{Name: "a <b>", Outcome: cricheck.Passed, Seconds: 1})
	r.Add(cricheck.Spec{Name: "c", Outcome: cricheck.Failed, Reason: "first\nsecond", Log: "did this"})
	r.Add(cricheck.Spec{Name: "d", Outcome: cricheck.Skipped, Reason: "why not"})
	var out bytes.Buffer
	if err := r.WriteJUnit(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`hostname="n1" tests="3" failures="1" skipped="1" time="2.5" timestamp="1970-01-01T00:00:00"`, `name="a &lt;b&gt;"`,
		`<failure message="first">first`, `<skipped message="why not">`, `<system-out>did this</system-out>`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %s:\n%s", want, &out)
		}
	}
}
