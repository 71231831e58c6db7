package figures

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Row is one thing that was measured, some number of times.
type Row struct {
	Key     string    `json:"key"`   // a name and parameters: up/nodes=1/driver=docker
	Label   string    `json:"label"` // the same in words, without the driver
	Unit    string    `json:"unit,omitempty"`
	Samples []float64 `json:"samples,omitempty"` // in the order in which they were measured
	Ratios  []float64 `json:"ratios,omitempty"`  // of each sample to U of its round; none if there was no U
	// Summary replaces the samples of a figure of which they were not kept.
	Summary *Summary `json:"summary,omitempty"`
	Run     string   `json:"run"` // ID of the run that measured it
}

// Summary is what is left of samples that were not kept. What is zero is not known.
type Summary struct {
	Of     int     `json:"of"` // how many there were
	Median float64 `json:"median,omitempty"`
	P99    float64 `json:"p99,omitempty"`
	Max    float64 `json:"max,omitempty"`
}

// NewRow makes a row of samples, which are in the unit that the catalogue names. The error says that the catalogue does not
// have the key.
func NewRow(key string, samples ...float64) (Row, error) {
	d, err := define(key)
	return Row{Key: key, Label: d.label, Unit: d.unit, Samples: rounded(samples)}, err
}

// NewTimes is NewRow for durations.
func NewTimes(key string, times ...time.Duration) (Row, error) {
	r, err := NewRow(key)
	unit := time.Second
	if r.Unit == Milliseconds {
		unit = time.Millisecond
	}
	samples := make([]float64, len(times))
	for i, t := range times {
		samples[i] = float64(t) / float64(unit)
	}
	r.Samples = rounded(samples)
	return r, err
}

// NewSizes is NewRow for numbers of bytes.
func NewSizes(key string, bytes ...int64) (Row, error) {
	samples := make([]float64, len(bytes))
	for i, n := range bytes {
		samples[i] = float64(n) / 1e6
	}
	return NewRow(key, samples...)
}

// Of returns the row with the ratio of each sample to the one of the same round in u.
func (r Row) Of(u Row) (Row, error) {
	if len(u.Samples) != len(r.Samples) || u.Unit != r.Unit {
		return r, fmt.Errorf("%s has %d samples in %q, and %s %d in %q: they are not of the same rounds",
			r.Key, len(r.Samples), r.Unit, u.Key, len(u.Samples), u.Unit)
	}
	ratios := make([]float64, len(r.Samples))
	for i, v := range r.Samples {
		ratios[i] = v / u.Samples[i]
	}
	r.Ratios = rounded(ratios)
	return r, nil
}

// rounded keeps five digits, which is more than any of this can be measured to.
func rounded(values []float64) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		if out[i] = v; v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		scale := math.Pow(10, 4-math.Floor(math.Log10(math.Abs(v))))
		out[i] = math.Round(v*scale) / scale
	}
	return out
}

// errQuantile is the error for any other.
var errQuantile = errors.New("a figure is one of median, p99, max, n and ratio")

// figure returns one number about the row.
func (r Row) figure(which string) (float64, error) {
	values := r.Samples
	switch {
	case which == "ratio" && len(r.Ratios) == 0:
		return 0, fmt.Errorf("%s was measured without U: %w", r.Key, errNoFigure)
	case which == "ratio":
		return median(r.Ratios), nil
	case which == "n":
		return float64(r.n()), nil
	case r.Summary != nil:
		known := map[string]float64{"median": r.Summary.Median, "p99": r.Summary.P99, "max": r.Summary.Max}
		v, ok := known[which]
		if !ok {
			return 0, errQuantile
		}
		if v == 0 {
			return 0, fmt.Errorf("the %s of %s was not kept: %w", which, r.Key, errNoFigure)
		}
		return v, nil
	case which == "median":
		return median(values), nil
	case which == "p99":
		return quantile(values, 99), nil
	case which == "max":
		return slices.Max(values), nil
	}
	return 0, errQuantile
}

// n is how many samples there are, or were.
func (r Row) n() int {
	if r.Summary != nil {
		return r.Summary.Of
	}
	return len(r.Samples)
}

// check reports what of a row makes no sense.
func (r Row) check() error {
	finite := func(values []float64) bool {
		return !slices.ContainsFunc(values, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) || v < 0 })
	}
	switch {
	case r.Key == "" || strings.ContainsAny(r.Key, " \t\n"):
		return fmt.Errorf("%q is no key of a row", r.Key)
	case len(r.Samples) == 0 && (r.Summary == nil || r.Summary.Of <= 0 || max(r.Summary.Median, r.Summary.P99, r.Summary.Max) <= 0):
		return fmt.Errorf("row %s has no samples", r.Key)
	case len(r.Samples) > 0 && r.Summary != nil:
		return fmt.Errorf("row %s has samples and a summary", r.Key)
	case len(r.Ratios) > 0 && len(r.Ratios) != len(r.Samples):
		return fmt.Errorf("row %s has %d samples and %d ratios", r.Key, len(r.Samples), len(r.Ratios))
	case !finite(r.Samples) || !finite(r.Ratios):
		return fmt.Errorf("row %s has samples that are no measurements", r.Key)
	}
	return nil
}

// median is the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// quantile is the value that at least p percent of the others do not exceed.
func quantile(values []float64, p int) float64 {
	s := slices.Sorted(slices.Values(values))
	return s[max(0, (len(s)*p+99)/100-1)]
}

// Format writes a value in its unit, with two or three digits.
func Format(unit string, v float64) string {
	switch unit {
	case "":
		return fmt.Sprintf("%.2f", v)
	case Milliseconds:
		if v >= 1000 {
			return Format(Seconds, v/1000)
		}
	case Megabytes:
		if v >= 1000 {
			return digits(v/1000) + " GB"
		}
		return fmt.Sprintf("%.0f MB", v)
	case Percent:
		return fmt.Sprintf("%.1f %% of a core", v)
	}
	return digits(v) + " " + unit
}

// digits drops the digits that nobody can measure, and zeros at the end.
func digits(v float64) string {
	places := 2
	switch {
	case v >= 100:
		places = 0
	case v >= 10:
		places = 1
	}
	text := fmt.Sprintf("%.*f", places, v)
	if places > 0 {
		text = strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
	}
	return text
}
