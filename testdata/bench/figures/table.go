package figures

import (
	"fmt"
	"slices"
	"strings"
)

// Table writes rows as a table in Markdown: what was measured, the median with the range of all samples, the same of the ratios to
// U, and the aim with whether it is met. A column that would be empty is left out. about says where it was measured.
func Table(title, about string, rows []Row) string {
	head := []string{title, about, "of U", "aim"}
	lines := make([][]string, 0, len(rows))
	for _, r := range rows {
		lines = append(lines, []string{r.Label, r.spread(), spread("", r.Ratios), r.verdict()})
	}
	for column := len(head) - 1; column > 1; column-- {
		if !slices.ContainsFunc(lines, func(l []string) bool { return l[column] != "" }) {
			head = slices.Delete(head, column, column+1)
			for i := range lines {
				lines[i] = slices.Delete(lines[i], column, column+1)
			}
		}
	}
	var b strings.Builder
	write := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	write(head)
	write(slices.Repeat([]string{"---"}, len(head)))
	for _, l := range lines {
		write(l)
	}
	return b.String()
}

// spread is what a table says of a row's samples.
func (r Row) spread() string {
	if s := r.Summary; s != nil {
		return fmt.Sprintf("%s (median of %d)", Format(r.Unit, s.Median), s.Of)
	}
	return spread(r.Unit, r.Samples)
}

// spread is the median, the range and, of many samples, the 99th percentile.
func spread(unit string, values []float64) string {
	switch n := len(values); n {
	case 0:
		return ""
	case 1:
		return Format(unit, values[0])
	default:
		text := fmt.Sprintf("%s (%s–%s", Format(unit, median(values)), number(unit, slices.Min(values)), number(unit, slices.Max(values)))
		if n >= 50 {
			text += ", p99 " + number(unit, quantile(values, 99))
		}
		return fmt.Sprintf("%s, n=%d)", text, n)
	}
}

// number is Format without the unit, unless it is not the usual one.
func number(unit string, v float64) string {
	text := Format(unit, v)
	for _, suffix := range []string{" " + unit, " % of a core"} {
		text = strings.TrimSuffix(text, suffix)
	}
	return text
}

// verdict says what the aim is, and whether it is met.
func (r Row) verdict() string {
	aim, ok := aimOf(r.Key)
	if !ok {
		return ""
	}
	which, what := "median", Format(r.Unit, aim.Most)
	if aim.Ratio {
		which, what = "ratio", Format("", aim.Most)+" U"
	}
	v, err := r.figure(which)
	switch {
	case err != nil:
		return "≤ " + what
	case v <= aim.Most:
		return "≤ " + what + ": met"
	}
	return "≤ " + what + ": **missed**"
}
