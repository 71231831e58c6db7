package kit

import (
	"strconv"
	"strings"
	"time"

	"github.com/NimbleMarkets/ntcharts/linechart/timeserieslinechart"
	"github.com/charmbracelet/lipgloss"
)

// Line is one history of a chart: a value for each period, the newest last. A negative value is unknown and not drawn.
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
	if a.H < 3 || a.W < 20 {
		first := c.Lines[0]
		return Block(first.Style.Render(Spark(first.Values, Peak(first.Values), max(0, a.W))), a)
	}
	values, top := 0, 0.0
	for _, l := range c.Lines {
		values, top = max(values, len(l.Values)), max(top, Peak(l.Values))
	}
	if values < 2 {
		return Block(st.Dim.Render("the chart starts with the second sample, in "+c.Age(c.Period)), a)
	}
	if top <= 0 {
		top = 1
	}
	label := 0
	for _, v := range []float64{top, top / 2, 0} {
		label = max(label, Width(c.Value(v)))
	}
	plot, span := Area{a.W - label - 2, a.H - 1}, max(8, values-1)
	out := make([]string, 0, a.H)
	for i, r := range c.plot(plot, span, top) {
		text, tick := c.tick(i, plot.H, top), "│"
		if text != "" {
			tick = "┤"
		}
		out = append(out, st.Dim.Render(FitRight(text, label))+st.Faint.Render(tick)+" "+r)
	}
	from := "−" + c.Age(time.Duration(span)*c.Period)
	out = append(out, strings.Repeat(" ", label)+st.Faint.Render("└")+" "+Spread(st.Dim.Render(from), st.Dim.Render("now"), plot.W))
	return Block(strings.Join(out, "\n"), a)
}

// tick is the label of line i of a scale of h lines.
func (c Chart) tick(i, h int, top float64) string {
	switch i {
	case 0:
		return c.Value(top)
	case h / 2:
		return c.Value(top / 2)
	case h - 1:
		return c.Value(0)
	}
	return ""
}

// plot draws the lines of the chart into an area that is span periods wide and top high.
func (c Chart) plot(a Area, span int, top float64) []string {
	const step = time.Minute // any would do: the time axis is only used for positions
	begin := time.Unix(0, 0).UTC()
	end := begin.Add(time.Duration(span) * step)
	ts := timeserieslinechart.New(a.W, a.H)
	ts.AutoMinX, ts.AutoMaxX, ts.AutoMinY, ts.AutoMaxY = false, false, false, false
	ts.SetXStep(0)
	ts.SetYStep(0)
	ts.SetTimeRange(begin, end)
	ts.SetYRange(0, top)
	ts.SetViewTimeAndYRange(begin, end, 0, top)
	for n, l := range c.Lines {
		name := strconv.Itoa(n)
		ts.SetDataSetStyle(name, l.Style)
		for i, v := range l.Values {
			if v >= 0 {
				ts.PushDataSet(name, timeserieslinechart.TimePoint{Time: end.Add(-time.Duration(len(l.Values)-1-i) * step), Value: v})
			}
		}
	}
	ts.DrawBrailleAll()
	return strings.Split(Block(ts.View(), a), "\n")
}

// Peak returns where the scale of a chart ends: a little above the highest value.
func Peak(v []float64) float64 {
	top := 0.0
	for _, x := range v {
		top = max(top, x)
	}
	return top * 1.1
}
