package figures

import (
	"slices"
	"strings"
	"testing"
)

func fileOf(machine string, rows ...Row) *File {
	f := &File{Format: 1, Runs: []Run{{ID: "1", Machine: machine}}}
	for _, r := range rows {
		r.Run = "1"
		f.Rows = append(f.Rows, r)
	}
	return f
}

func TestWriteBench(t *testing.T) {
	up := row(t, "up/nodes=1/driver=docker", 3.4, 3.3)
	up.Ratios = []float64{0.7, 0.68}
	f := fileOf("m", up, row(t, "pause/driver=docker", 40), row(t, "size", 105.9), row(t, "memory/driver=docker", 210), row(t, "idle/driver=docker", 1.5),
		row(t, "iperf/on=one_node/policies=0", 12), row(t, "iperf/kept/on=one_node/policies=100", 0.98),
		Row{Key: "version", Summary: &Summary{Of: 5, Median: 20}})
	var b strings.Builder
	if err := f.WriteBench(&b); err != nil {
		t.Fatal(err)
	}
	const want = `Unit bit/s better=higher
Unit kept better=higher
Unit file-B assume=exact
BenchmarkUp/nodes=1/driver=docker 1 3.4 sec 0.7 of-U
BenchmarkUp/nodes=1/driver=docker 1 3.3 sec 0.68 of-U
BenchmarkPause/driver=docker 1 0.04 sec
BenchmarkSize 1 1.059e+08 file-B
BenchmarkMemory/driver=docker 1 2.1e+08 B
BenchmarkIdle/driver=docker 1 1.5 %core
BenchmarkIperf/on=one_node/policies=0 1 1.2e+10 bit/s
BenchmarkIperf/kept/on=one_node/policies=100 1 0.98 kept
`
	if b.String() != want {
		t.Errorf("the benchmarks are\n%swant\n%s", b.String(), want)
	}
	read, err := f.bench()
	if err != nil {
		t.Fatal(err)
	}
	if got := read.values[benchKey{"Up/nodes=1/driver=docker", "of-U"}]; !slices.Equal(got, []float64{0.7, 0.68}) {
		t.Errorf("the ratios are read as %v", got)
	}
	if read.units.GetBetter("bit/s") != 1 || read.units.GetBetter("sec") == 1 {
		t.Error("it is not known of which more is better")
	}
}

// around returns samples around a middle.
func around(middle float64) []float64 {
	return []float64{0.97 * middle, 0.99 * middle, middle, 1.01 * middle, 1.03 * middle}
}

func TestCompare(t *testing.T) {
	old := fileOf("m", row(t, "up/nodes=0", around(1.6)...), row(t, "start/driver=docker", around(3)...), row(t, "stop/driver=docker", around(4)...),
		row(t, "iperf/on=one_node/policies=0", around(12)...), row(t, "size", 100), row(t, "load/driver=docker", 1), row(t, "version", 20, 20, 20, 20, 20),
		row(t, "resume/driver=docker", 100))
	newer := fileOf("m", row(t, "up/nodes=0", around(2)...), row(t, "start/driver=docker", around(2)...), row(t, "stop/driver=docker", around(4.01)...),
		row(t, "iperf/on=one_node/policies=0", around(9)...), row(t, "size", 103), row(t, "load/driver=docker", 5),
		row(t, "version", 20.1, 20.1, 20.1, 20.1, 20.1))
	c, err := Compare(old, newer)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, change := range c.Changes {
		verdict := "same"
		switch {
		case change.Significant() && change.By > 0:
			verdict = "worse"
		case change.Significant():
			verdict = "better"
		case change.Few:
			verdict = "few"
		}
		got = append(got, verdict+" "+change.Name)
	}
	// Five times as long, measured once, says nothing; half a percent more, certain as it is, is not worth a word.
	want := []string{"few Load/driver=docker", "worse Up/nodes=0", "worse Iperf/on=one_node/policies=0", "worse Size", "same Version", "same Stop/driver=docker",
		"better Start/driver=docker"}
	if !slices.Equal(got, want) {
		t.Errorf("the changes are\n%q, want\n%q", got, want)
	}
	if c.Worse() != 3 || !slices.Equal(c.Lost, []string{"Resume/driver=docker sec"}) {
		t.Errorf("%d got worse, lost are %q", c.Worse(), c.Lost)
	}
	text := c.String()
	for _, want := range []string{
		"WORSE   Up/nodes=0                    1.6 s → 2 s           +25.0 %  p=0.008 n=5+5\n",
		"12 Gbit/s → 9 Gbit/s", "-25.0 %", "100 MB → 103 MB", "+3.0 %   exact", "better  Start/driver=docker",
		"2 without a change", "1 with too few samples", "not measured in the new file: Resume/driver=docker sec",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q:\n%s", want, text)
		}
	}
	if same, err := Compare(old, old); err != nil || same.Worse() != 0 || len(same.Lost) != 0 {
		t.Errorf("%v: a file differs from itself: %v", err, same)
	}
}

// TestCompareMachines checks that of two machines only what does not depend on the machine is compared.
func TestCompareMachines(t *testing.T) {
	up := func(seconds, ratio float64) Row {
		r := row(t, "up/nodes=0", around(seconds)...)
		r.Ratios = around(ratio)
		return r
	}
	c, err := Compare(fileOf("one", up(1, 0.3)), fileOf("another", up(3, 0.4)))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Changes) != 1 || c.Changes[0].Unit != goOfU || c.Worse() != 1 || !strings.Contains(c.String(), "the files are of two machines") {
		t.Errorf("compared were\n%v", c)
	}
	if _, err := Compare(fileOf("one", row(t, "version", 20)), fileOf("another", row(t, "version", 40))); err == nil {
		t.Error("times of two machines were compared")
	}
}

// TestComparePace checks that seconds are not compared if the machine was slower, which U says, and that U is nobody's loss.
func TestComparePace(t *testing.T) {
	file := func(u, seconds float64) *File {
		r := row(t, "up/nodes=0", around(seconds)...)
		r.Ratios = around(seconds / u)
		return fileOf("m", row(t, "upstream", around(u)...), row(t, "upstream/memory", around(200*u)...), r, row(t, "stop/driver=docker", around(seconds)...),
			row(t, "memory/driver=docker", around(210)...))
	}
	c, err := Compare(file(4, 1.6), file(6, 2.4))
	if err != nil {
		t.Fatal(err)
	}
	if c.Worse() != 0 || len(c.Changes) != 2 || !strings.Contains(c.String(), "U went from 4 s to 6 s (p=0.008 n=5+5), so seconds were not compared") {
		t.Errorf("on a slower machine, the comparison is\n%v", c)
	}
	c, err = Compare(file(4, 1.6), file(6, 3))
	if err != nil {
		t.Fatal(err)
	}
	if c.Worse() != 1 || !strings.Contains(c.String(), "WORSE  Up/nodes=0  0.400 U → 0.500 U") {
		t.Errorf("slower on a slower machine, the comparison is\n%v", c)
	}
	c, err = Compare(file(4, 1.6), file(4.01, 2))
	if err != nil {
		t.Fatal(err)
	}
	if c.Worse() != 3 || strings.Contains(c.String(), "U went from") { // two times and a ratio
		t.Errorf("slower on the same machine, the comparison is\n%v", c)
	}
}
