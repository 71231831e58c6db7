package ui

import (
	"strconv"
	"strings"
	"time"

	"github.com/NimbleMarkets/ntcharts/linechart/timeserieslinechart"
	"github.com/charmbracelet/lipgloss"

	"github.com/klkube/kl/cluster/observe"
)

// line is one history of a chart, a value a period, the newest last; a value below zero is a gap.
type line struct {
	values []float64
	style  lipgloss.Style
}

// drawChart draws lines with the newest values at the right edge and the scale at the left. It always shows at least two
// minutes, so that a young history does not look like a long one.
func drawChart(st *styles, period float64, unit func(float64) string, a area, lines ...line) string {
	if a.h < 3 || a.w < 20 {
		return block(lines[0].style.Render(spark(lines[0].values, peak(lines[0].values), max(0, a.w))), a)
	}
	values, top := 0, 0.0
	for _, l := range lines {
		values, top = max(values, len(l.values)), max(top, peak(l.values))
	}
	if values < 2 {
		return block(st.dim.Render("the line begins with the second sample, in "+observe.Span(time.Duration(period)*time.Second)), a)
	}
	if top <= 0 {
		top = 1
	}
	label := 0
	for _, v := range []float64{top, top / 2, 0} {
		label = max(label, width(unit(v)))
	}
	plot := area{a.w - label - 2, a.h - 1}
	span := max(8, values-1)
	end := time.Unix(int64(span)*60, 0).UTC() // the time axis is only used for positions
	begin := time.Unix(0, 0).UTC()
	c := timeserieslinechart.New(plot.w, plot.h)
	c.AutoMinX, c.AutoMaxX, c.AutoMinY, c.AutoMaxY = false, false, false, false
	c.SetXStep(0)
	c.SetYStep(0)
	c.SetTimeRange(begin, end)
	c.SetYRange(0, top)
	c.SetViewTimeAndYRange(begin, end, 0, top)
	for n, l := range lines {
		name := strconv.Itoa(n)
		c.SetDataSetStyle(name, l.style)
		for i, v := range l.values {
			if v >= 0 {
				c.PushDataSet(name, timeserieslinechart.TimePoint{Time: end.Add(-time.Duration(len(l.values)-1-i) * time.Minute), Value: v})
			}
		}
	}
	c.DrawBrailleAll()
	rows := strings.Split(block(c.View(), plot), "\n")
	out := make([]string, 0, a.h)
	for i, r := range rows {
		text := ""
		switch i {
		case 0:
			text = unit(top)
		case plot.h / 2:
			text = unit(top / 2)
		case plot.h - 1:
			text = unit(0)
		}
		tick := "│"
		if text != "" {
			tick = "┤"
		}
		out = append(out, st.dim.Render(fitRight(text, label))+st.faint.Render(tick)+" "+r)
	}
	from := "−" + observe.Span(time.Duration(float64(span)*period)*time.Second)
	out = append(out, strings.Repeat(" ", label)+st.faint.Render("└")+" "+spread(st.dim.Render(from), st.dim.Render("now"), plot.w))
	return block(strings.Join(out, "\n"), a)
}
