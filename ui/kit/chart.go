package kit

import (
	"strconv"
	"strings"
	"time"

	"github.com/NimbleMarkets/ntcharts/linechart/timeserieslinechart"
	"github.com/charmbracelet/lipgloss"
)

// Line is one history of a chart: a value for each period, the newest last. A negative value is a gap.
type Line struct {
	Values []float64
	Style  lipgloss.Style
}

// Chart draws histories with the newest values at the right edge and the scale at the left. It always covers at least
// eight periods, so that a short history does not look like a long one.
type Chart struct {
	Period time.Duration              // between two values
	Value  func(float64) string       // labels the scale
	Age    func(time.Duration) string // labels the time axis
	Lines  []Line
}

// View draws the chart, or only a sparkline if the area is small.
func (c Chart) View(st *Styles, a Area) string {
	lines, unit := c.Lines, c.Value
	if a.H < 3 || a.W < 20 {
		return Block(lines[0].Style.Render(Spark(lines[0].Values, Peak(lines[0].Values), max(0, a.W))), a)
	}
	values, top := 0, 0.0
	for _, l := range lines {
		values, top = max(values, len(l.Values)), max(top, Peak(l.Values))
	}
	if values < 2 {
		return Block(st.Dim.Render("the line begins with the second sample, in "+c.Age(c.Period)), a)
	}
	if top <= 0 {
		top = 1
	}
	label := 0
	for _, v := range []float64{top, top / 2, 0} {
		label = max(label, Width(unit(v)))
	}
	plot := Area{a.W - label - 2, a.H - 1}
	span := max(8, values-1)
	end := time.Unix(int64(span)*60, 0).UTC() // the time axis is only used for positions
	begin := time.Unix(0, 0).UTC()
	ts := timeserieslinechart.New(plot.W, plot.H)
	ts.AutoMinX, ts.AutoMaxX, ts.AutoMinY, ts.AutoMaxY = false, false, false, false
	ts.SetXStep(0)
	ts.SetYStep(0)
	ts.SetTimeRange(begin, end)
	ts.SetYRange(0, top)
	ts.SetViewTimeAndYRange(begin, end, 0, top)
	for n, l := range lines {
		name := strconv.Itoa(n)
		ts.SetDataSetStyle(name, l.Style)
		for i, v := range l.Values {
			if v >= 0 {
				ts.PushDataSet(name, timeserieslinechart.TimePoint{Time: end.Add(-time.Duration(len(l.Values)-1-i) * time.Minute), Value: v})
			}
		}
	}
	ts.DrawBrailleAll()
	rows := strings.Split(Block(ts.View(), plot), "\n")
	out := make([]string, 0, a.H)
	for i, r := range rows {
		text := ""
		switch i {
		case 0:
			text = unit(top)
		case plot.H / 2:
			text = unit(top / 2)
		case plot.H - 1:
			text = unit(0)
		}
		tick := "│"
		if text != "" {
			tick = "┤"
		}
		out = append(out, st.Dim.Render(FitRight(text, label))+st.Faint.Render(tick)+" "+r)
	}
	from := "−" + c.Age(time.Duration(span)*c.Period)
	out = append(out, strings.Repeat(" ", label)+st.Faint.Render("└")+" "+Spread(st.Dim.Render(from), st.Dim.Render("now"), plot.W))
	return Block(strings.Join(out, "\n"), a)
}

// Peak returns where the scale of a chart ends: a little above the highest value.
func Peak(v []float64) float64 {
	top := 0.0
	for _, x := range v {
		top = max(top, x)
	}
	return top * 1.1
}
