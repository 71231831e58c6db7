package ui

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// usageCells are the cells of a row.
func usageCells(r *usageRow, v viewState) []kit.Cell {
	c, m := seriesOf(r.series)
	now, ok := r.series.Last()
	cpuText, memText, cpuShare, memShare := "–", "–", "", ""
	if ok {
		cpuText, memText = kit.CPU(int64(now.MilliCPU)), kit.Bytes(now.Bytes())
		cpuShare, memShare = kit.Percent(int64(now.MilliCPU), r.request.MilliCPU), kit.Percent(now.Bytes(), r.limit.Bytes)
	}
	trace := func(v []float64, top float64) func(*kit.Styles, int) string {
		return func(st *kit.Styles, w int) string { return st.Accent.Render(kit.Spark(v, top, w)) }
	}
	return []kit.Cell{dotCell(r.level), nameCell(v, r.namespace, r.name), kit.Text(cpuText),
		{Draw: trace(c, kit.Peak(c))}, kit.Dim(cpuShare), kit.Text(memText), {Draw: trace(m, kit.Peak(m))}, kit.Dim(memShare), kit.Dim(trafficText(r.traffic)), kit.Dim(strconv.Itoa(r.restarts))}
}

// trafficText is the newest traffic in both directions, or "" if none was measured.
func trafficText(t []observe.Rate) string {
	if len(t) == 0 {
		return ""
	}
	r := t[len(t)-1]
	return "↓" + kit.Bytes(int64(r.In)) + " ↑" + kit.Bytes(int64(r.Out))
}

// total is the newest traffic, in and out together.
func total(t []observe.Rate) int64 {
	r := last(t)
	return int64(r.In) + int64(r.Out)
}

// last is the newest value of a history, or zero if there is none.
func last[T any](s []T) T {
	if len(s) == 0 {
		var zero T
		return zero
	}
	return s[len(s)-1]
}

// valuesOf turns a history into values for a chart.
func valuesOf[T any](s []T, value func(T) float64) []float64 {
	out := make([]float64, len(s))
	for i := range s {
		out[i] = value(s[i])
	}
	return out
}

const chartCount = 4 // CPU, memory, network, restarts

// chartRoom says how many lines of charts fit below the table, and how many charts fit into a line.
func chartRoom(a kit.Area) (lines, perLine int) {
	switch {
	case a.H < 16 || a.W < 60:
		return 0, 0
	case a.W >= 160:
		return 1, 4
	case a.H >= 34:
		return 2, 2
	}
	return 1, 2
}

// chartHeight is the height of a chart when there are several lines of them.
func chartHeight(lines int) int {
	if lines > 1 {
		return 10
	}
	return 12
}

// charts draws the history of one row: CPU, memory, network and restarts, or two of them.
func (x *metrics) charts(st *kit.Styles, r *usageRow, lines, perLine, w int) string {
	draw := []func(*kit.Styles, *usageRow, kit.Area) string{x.cpuChart, x.memoryChart, x.networkChart, x.restartChart}
	if lines*perLine < chartCount && x.other {
		draw = draw[2:]
	}
	var out []string
	for i := range lines {
		row, left := "", w
		for j := range perLine {
			a := kit.Area{W: left / (perLine - j), H: chartHeight(lines)}
			left -= a.W
			if panel := draw[i*perLine+j](st, r, a); row == "" {
				row = panel
			} else {
				row = kit.Beside(row, panel)
			}
		}
		out = append(out, row)
	}
	return strings.Join(out, "\n")
}

func (x *metrics) cpuChart(st *kit.Styles, r *usageRow, a kit.Area) string {
	c, _ := seriesOf(r.series)
	now, _ := r.series.Last()
	return st.Panel("CPU · "+r.name, kit.CPU(int64(now.MilliCPU))+" of "+kit.CPU(r.request.MilliCPU),
		x.chart(func(v float64) string { return kit.CPU(int64(v)) }, kit.Line{Values: c, Style: st.Accent}).View(st, a.Inner()), a, false)
}

func (x *metrics) memoryChart(st *kit.Styles, r *usageRow, a kit.Area) string {
	_, m := seriesOf(r.series)
	now, _ := r.series.Last()
	return st.Panel("Memory", kit.Bytes(now.Bytes())+limitNote(r),
		x.chart(func(v float64) string { return kit.Bytes(int64(v)) }, kit.Line{Values: m, Style: st.Good}).View(st, a.Inner()), a, false)
}

func (x *metrics) networkChart(st *kit.Styles, r *usageRow, a kit.Area) string {
	t := x.state.snap.Traffic
	note := trafficText(r.traffic)
	if note != "" {
		note += " a second"
	}
	body := ""
	switch {
	case t == nil:
		body = st.Dim.Render("asking the kubelets")
	case len(r.traffic) == 0 && t.Note != "":
		body = st.Dim.Render(strings.Join(kit.Wrap(kit.Clean(t.Note), a.W-4), "\n"))
	case len(r.traffic) == 0:
		body = st.Dim.Render("host network, or no sample yet")
	default:
		body = x.chart(func(v float64) string { return kit.Bytes(int64(v)) },
			kit.Line{Values: valuesOf(r.traffic, func(r observe.Rate) float64 { return float64(r.In) }), Style: st.Busy},
			kit.Line{Values: valuesOf(r.traffic, func(r observe.Rate) float64 { return float64(r.Out) }), Style: st.Warn}).View(st, a.Inner())
	}
	return st.Panel("Network", note, body, a, false)
}

func (x *metrics) restartChart(st *kit.Styles, r *usageRow, a kit.Area) string {
	body := st.Good.Render("✓") + st.Dim.Render(" no restart")
	switch {
	case len(r.restarted) > 0:
		body = x.chart(wholeNumber, kit.Line{Values: valuesOf(r.restarted, func(n int32) float64 { return float64(n) }), Style: st.Bad}).View(st, a.Inner())
	case r.restarts > 0:
		body = st.Dim.Render("the chart starts with the next sample")
	}
	return st.Panel("Restarts", fmt.Sprintf("%d so far", r.restarts), body, a, false)
}

func limitNote(r *usageRow) string {
	if r.limit.Bytes > 0 {
		return " of " + kit.Bytes(r.limit.Bytes)
	}
	return ", no limit"
}

// chart is a chart of histories that were sampled together with CPU and memory.
func (x *metrics) chart(value func(float64) string, lines ...kit.Line) kit.Chart {
	period := 15 * time.Second
	if u := x.state.snap.Usage; u != nil {
		period = u.Period
	}
	return kit.Chart{Period: period, Value: value, Age: observe.Span, Lines: lines}
}

func wholeNumber(v float64) string { return fmt.Sprintf("%.0f", v) }
