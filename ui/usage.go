package ui

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/klkube/kl/cluster/observe"
)

func usageCells(r *usageRow, w *world) []cell {
	c, m := seriesOf(r.series)
	now, ok := r.series.Last()
	cpuText, memText, cpuShare, memShare := "–", "–", "", ""
	if ok {
		cpuText, memText = cpu(int64(now.MilliCPU)), mem(now.Bytes())
		cpuShare, memShare = percent(int64(now.MilliCPU), r.request.MilliCPU), percent(now.Bytes(), r.limit.Bytes)
	}
	trace := func(v []float64, top float64) func(*styles, int) string {
		return func(st *styles, w int) string { return st.accent.Render(spark(v, top, w)) }
	}
	return []cell{{draw: func(st *styles, _ int) string { return st.dot(r.level) }}, nameCell(w, r.namespace, r.name), txt(cpuText),
		{draw: trace(c, peak(c))}, soft(cpuShare), txt(memText), {draw: trace(m, peak(m))}, soft(memShare), soft(trafficText(r.traffic)), soft(strconv.Itoa(r.restarts))}
}

// trafficText is what came in and went out last; empty if unknown.
func trafficText(t []observe.Rate) string {
	if len(t) == 0 {
		return ""
	}
	r := t[len(t)-1]
	return "↓" + mem(int64(r.In)) + " ↑" + mem(int64(r.Out))
}

// total is the traffic of both directions, last.
func total(t []observe.Rate) int64 {
	r := last(t)
	return int64(r.In) + int64(r.Out)
}

// last is the newest of a history; zero without one.
func last[T any](s []T) T {
	if len(s) == 0 {
		var zero T
		return zero
	}
	return s[len(s)-1]
}

// valuesOf makes a history one that charts take.
func valuesOf[T any](s []T, value func(T) float64) []float64 {
	out := make([]float64, len(s))
	for i := range s {
		out[i] = value(s[i])
	}
	return out
}

// chartRoom is how many lines of charts, and how many in a line, an area has room for below the table.
func chartRoom(a area) (lines, perLine int) {
	switch {
	case a.h < 16 || a.w < 60:
		return 0, 0
	case a.w >= 160:
		return 1, 4
	case a.h >= 34:
		return 2, 2
	}
	return 1, 2
}

// charts draws the history of one row: CPU, memory, network and restarts, or two of them.
func (x *metrics) charts(st *styles, r *usageRow, lines, perLine, w int) string {
	x.all = lines*perLine >= 4
	height := 12
	if lines > 1 {
		height = 10
	}
	draw := []func(*styles, *usageRow, area) string{x.cpuChart, x.memoryChart, x.networkChart, x.restartChart}
	if !x.all && x.other {
		draw = draw[2:]
	}
	var out []string
	for i := range lines {
		row, left := "", w
		for j := range perLine {
			a := area{left / (perLine - j), height}
			left -= a.w
			if panel := draw[i*perLine+j](st, r, a); row == "" {
				row = panel
			} else {
				row = beside(row, panel)
			}
		}
		out = append(out, row)
	}
	return strings.Join(out, "\n")
}

func (x *metrics) cpuChart(st *styles, r *usageRow, a area) string {
	c, _ := seriesOf(r.series)
	now, _ := r.series.Last()
	return st.panel("CPU · "+r.name, cpu(int64(now.MilliCPU))+" of "+cpu(r.request.MilliCPU),
		drawChart(st, x.period(), func(v float64) string { return cpu(int64(v)) }, a.inner(), line{c, st.accent}), a, false)
}

func (x *metrics) memoryChart(st *styles, r *usageRow, a area) string {
	_, m := seriesOf(r.series)
	now, _ := r.series.Last()
	return st.panel("Memory", mem(now.Bytes())+limitNote(r),
		drawChart(st, x.period(), func(v float64) string { return mem(int64(v)) }, a.inner(), line{m, st.good}), a, false)
}

func (x *metrics) networkChart(st *styles, r *usageRow, a area) string {
	t := x.w.snap.Traffic
	note := trafficText(r.traffic)
	if note != "" {
		note += " a second"
	}
	body := ""
	switch {
	case t == nil:
		body = st.dim.Render("asking the kubelets")
	case len(r.traffic) == 0 && t.Note != "":
		body = st.dim.Render(strings.Join(wrap(clean(t.Note), a.w-4), "\n"))
	case len(r.traffic) == 0:
		body = st.dim.Render("no network of its own, or too young")
	default:
		body = drawChart(st, x.period(), func(v float64) string { return mem(int64(v)) }, a.inner(),
			line{valuesOf(r.traffic, func(r observe.Rate) float64 { return float64(r.In) }), st.busy},
			line{valuesOf(r.traffic, func(r observe.Rate) float64 { return float64(r.Out) }), st.warn})
	}
	return st.panel("Network", note, body, a, false)
}

func (x *metrics) restartChart(st *styles, r *usageRow, a area) string {
	body := st.good.Render("✓") + st.dim.Render(" no restart")
	switch {
	case len(r.restarted) > 0:
		body = drawChart(st, x.period(), func(v float64) string { return fmt.Sprintf("%.0f", v) }, a.inner(),
			line{valuesOf(r.restarted, func(n int32) float64 { return float64(n) }), st.bad})
	case r.restarts > 0:
		body = st.dim.Render("the line begins with the next sample")
	}
	return st.panel("Restarts", fmt.Sprintf("%d so far", r.restarts), body, a, false)
}

func limitNote(r *usageRow) string {
	if r.limit.Bytes > 0 {
		return " of " + mem(r.limit.Bytes)
	}
	return ", no limit"
}

func (x *metrics) period() float64 {
	if u := x.w.snap.Usage; u != nil {
		return u.Period.Seconds()
	}
	return 15
}

// peak is the top of a chart: a little above the highest value.
func peak(v []float64) float64 {
	top := 0.0
	for _, x := range v {
		top = max(top, x)
	}
	return top * 1.1
}
