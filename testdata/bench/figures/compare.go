package figures

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchmath"
)

// Units of Go's benchmark format that this package makes of its own.
const (
	goRatio  = "x"      // a ratio
	goOfU    = "of-U"   // a ratio to U
	goSize   = "file-B" // the size of a file, which does not vary
	goCore   = "%core"
	goBits   = "bit/s"
	goKept   = "kept" // a ratio of which more is better
	goSecond = "sec"
	goBytes  = "B"
)

// WriteBench writes all samples in Go's benchmark format, for benchstat and other tools: a benchmark a row, a line a sample.
func (f *File) WriteBench(w io.Writer) error {
	out := benchfmt.NewWriter(w)
	for _, m := range []benchfmt.UnitMetadata{
		{UnitMetadataKey: benchfmt.UnitMetadataKey{Unit: goBits, Key: "better"}, Value: "higher"},
		{UnitMetadataKey: benchfmt.UnitMetadataKey{Unit: goKept, Key: "better"}, Value: "higher"},
		{UnitMetadataKey: benchfmt.UnitMetadataKey{Unit: goSize, Key: "assume"}, Value: "exact"},
	} {
		m.OrigUnit = m.Unit
		if err := out.Write(&m); err != nil {
			return err
		}
	}
	for _, r := range f.Rows {
		unit, scale := r.goUnit()
		for i, v := range r.Samples {
			res := benchfmt.Result{Name: goName(r.Key), Iters: 1, Values: []benchfmt.Value{{Value: rounded([]float64{v * scale})[0], Unit: unit}}}
			if len(r.Ratios) > 0 {
				res.Values = append(res.Values, benchfmt.Value{Value: r.Ratios[i], Unit: goOfU})
			}
			if err := out.Write(&res); err != nil {
				return err
			}
		}
	}
	return nil
}

// goName is the key as the name of a benchmark, which begins with a capital.
func goName(key string) benchfmt.Name {
	return benchfmt.Name(strings.ToUpper(key[:1]) + key[1:])
}

// goUnit is the unit in Go's benchmark format, and what a sample is multiplied by.
func (r Row) goUnit() (unit string, scale float64) {
	d, _ := define(r.Key) // a key of an older catalogue is of something of which less is better
	switch {
	case d.exact:
		return goSize, 1e6
	case r.Unit == Seconds:
		return goSecond, 1
	case r.Unit == Milliseconds:
		return goSecond, 1e-3
	case r.Unit == Megabytes:
		return goBytes, 1e6
	case r.Unit == Throughput:
		return goBits, 1e9
	case r.Unit == Percent:
		return goCore, 1
	case d.higher:
		return goKept, 1
	}
	return goRatio, 1
}

// least is the part by which a median must change to be called worse or better: what is smaller may be certain, and still
// matters to nobody.
const least = 0.02

// Change is how one measurement differs between two files.
type Change struct {
	Name     string // of the benchmark
	Unit     string // of Go's benchmark format
	Old, New float64
	P        float64 // that this much or more is chance; 0 for what does not vary
	N        [2]int
	By       float64 // part of the old median by which it became worse, negative if better
	Few      bool    // there are too few samples to tell anything
}

// Significant reports whether the change is neither chance nor tiny.
func (c Change) Significant() bool { return c.P < 0.05 && max(c.By, -c.By) >= least }

// Comparison is what differs between two files.
type Comparison struct {
	Changes []Change // the worst first
	// Elsewhere says that the files are of two machines: seconds and memory are then not compared.
	Elsewhere bool
	// Pace is how U differs, which is the machine's doing and not kl's; nil if a file has none. If it differs significantly, seconds
	// are not compared, but ratios to it.
	Pace *Change
	Lost []string // benchmarks of the old file that the new one does not have
}

// Worse counts what got significantly worse.
func (c Comparison) Worse() int {
	n := 0
	for _, change := range c.Changes {
		if change.Significant() && change.By > 0 {
			n++
		}
	}
	return n
}

// busy reports whether one of the files was measured while the machine was slower.
func (c Comparison) busy() bool { return c.Pace != nil && c.Pace.Significant() }

// comparable reports whether samples in a unit say something about kl.
func (c Comparison) comparable(unit string) bool {
	switch unit {
	case goOfU, goRatio, goKept, goSize:
		return true
	case goSecond:
		return !c.Elsewhere && !c.busy()
	}
	return !c.Elsewhere
}

// Compare compares what two files have in common, with the tests of benchstat: Mann and Whitney's for what varies, and equality for
// what does not. Of two machines only ratios and sizes of files are comparable, and seconds only if U is the same.
func Compare(older, newer *File) (*Comparison, error) {
	a, err := older.bench()
	if err != nil {
		return nil, err
	}
	b, err := newer.bench()
	if err != nil {
		return nil, err
	}
	c := &Comparison{Elsewhere: older.machine() != newer.machine()}
	pace := benchKey{string(goName(upstreamKey)), goSecond}
	if a.values[pace] != nil && b.values[pace] != nil && !c.Elsewhere {
		change := compareOne(pace, a, b)
		c.Pace = &change
	}
	for _, k := range a.order {
		switch {
		case strings.HasPrefix(k.name, pace.name): // upstream's, which is not kl's merit
		case b.values[k] == nil:
			c.Lost = append(c.Lost, k.name+" "+k.unit)
		case c.comparable(k.unit):
			c.Changes = append(c.Changes, compareOne(k, a, b))
		}
	}
	if len(c.Changes) == 0 {
		return nil, errors.New("the files have nothing in common that can be compared")
	}
	slices.SortStableFunc(c.Changes, func(a, b Change) int { return cmp.Compare(b.By, a.By) })
	return c, nil
}

// compareOne compares the samples of one benchmark in one unit.
func compareOne(k benchKey, a, b *benchFile) Change {
	how, thresholds := a.units.GetAssumption(k.unit), benchmath.DefaultThresholds
	x, y := benchmath.NewSample(a.values[k], &thresholds), benchmath.NewSample(b.values[k], &thresholds)
	res := how.Compare(x, y)
	change := Change{
		Name: k.name, Unit: k.unit, Old: how.Summary(x, 0.95).Center, New: how.Summary(y, 0.95).Center,
		P: res.P, N: [2]int{res.N1, res.N2}, Few: len(res.Warnings) > 0,
	}
	if change.Old != 0 {
		change.By = change.New/change.Old - 1
	}
	if a.units.GetBetter(k.unit) > 0 {
		change.By = -change.By
	}
	return change
}

// machine is where all of a file was measured; several machines are in its words.
func (f *File) machine() string {
	var all []string
	for _, r := range f.Runs {
		all = append(all, r.Machine)
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(all))), "; ")
}

// benchKey names the samples that are compared with one another.
type benchKey struct{ name, unit string }

// benchFile is what a file says in Go's benchmark format.
type benchFile struct {
	order  []benchKey
	values map[benchKey][]float64
	units  benchfmt.UnitMetadataMap
}

// bench reads what WriteBench writes, as benchstat does.
func (f *File) bench() (*benchFile, error) {
	var text bytes.Buffer
	if err := f.WriteBench(&text); err != nil {
		return nil, err
	}
	out := &benchFile{values: map[benchKey][]float64{}}
	r := benchfmt.NewReader(&text, "figures")
	for r.Scan() {
		switch rec := r.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, fmt.Errorf("convert to Go's benchmark format: %w", rec)
		case *benchfmt.Result:
			for _, v := range rec.Values {
				k := benchKey{string(rec.Name), v.Unit}
				if out.values[k] == nil {
					out.order = append(out.order, k)
				}
				out.values[k] = append(out.values[k], v.Value)
			}
		}
	}
	out.units = r.Units()
	return out, r.Err()
}

// String is a table of all changes that are neither chance nor tiny, the worst first, and what else a reader must know.
func (c Comparison) String() string {
	var b strings.Builder
	same, few := 0, 0
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, change := range c.Changes {
		switch {
		case change.Significant():
			verdict := "better"
			if change.By > 0 {
				verdict = "WORSE"
			}
			fmt.Fprintf(t, "%s\t%s\t%s → %s\t%+.1f %%\t%s\n", verdict, change.Name, goFormat(change.Unit, change.Old), goFormat(change.Unit, change.New),
				100*(change.New/change.Old-1), change.chance())
		case change.Few:
			few++
		default:
			same++
		}
	}
	_ = t.Flush() // a strings.Builder takes everything
	fmt.Fprintf(&b, "%d without a change that is more than chance (p < 0.05) and %.0f %%\n", same, 100*least)
	if few > 0 {
		fmt.Fprintf(&b, "%d with too few samples to tell: benchstat's test needs four on each side\n", few)
	}
	if c.Elsewhere {
		b.WriteString("the files are of two machines: only ratios and sizes were compared\n")
	}
	if c.busy() {
		fmt.Fprintf(&b, "the machine was not as fast: U went from %s to %s (%s), so seconds were not compared, but ratios to it\n",
			goFormat(goSecond, c.Pace.Old), goFormat(goSecond, c.Pace.New), c.Pace.chance())
	}
	for _, name := range c.Lost {
		fmt.Fprintf(&b, "not measured in the new file: %s\n", name)
	}
	if expected := float64(same) * 0.025; c.Worse() > 0 && expected >= 0.5 {
		fmt.Fprintf(&b, "of so many, about %.0f may look worse by chance: measure again what surprises you\n", math.Ceil(expected))
	}
	return b.String()
}

// chance says how sure a change is.
func (c Change) chance() string {
	if c.P == 0 {
		return "exact"
	}
	return fmt.Sprintf("p=%.3f n=%d+%d", c.P, c.N[0], c.N[1])
}

// goFormat writes a value in a unit of Go's benchmark format.
func goFormat(unit string, v float64) string {
	switch unit {
	case goSecond:
		if v < 1 {
			return Format(Milliseconds, v*1e3)
		}
		return Format(Seconds, v)
	case goBytes, goSize:
		return Format(Megabytes, v/1e6)
	case goBits:
		return Format(Throughput, v/1e9)
	case goCore:
		return Format(Percent, v)
	case goOfU:
		return fmt.Sprintf("%.3f U", v)
	}
	return fmt.Sprintf("%.3f", v)
}
