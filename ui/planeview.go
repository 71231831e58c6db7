package ui

import (
	"fmt"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
	"math"
	"strings"
)

// plane draws the metrics of the control plane.
func (x *metrics) plane(st *kit.Styles, a kit.Area) string {
	p := x.state.snap.Plane
	switch {
	case p == nil:
		return st.Skeleton("asking the API server for its metrics", x.state.frame, a)
	case len(p.Verbs) == 0:
		return st.Empty("No control plane metrics", kit.Clean(p.Err), a)
	}
	facts := planeFacts(st, p, a)
	lines := verbLines(st, p, a.W-4)
	chart := max(0, min(10, a.H-len(facts)-2-len(lines)-2))
	if chart < 5 {
		chart = 0
	}
	table := max(3, a.H-len(facts)-2-chart)
	out := st.Panel("Storage and scheduling", "", strings.Join(facts, "\n"), kit.Area{W: a.W, H: len(facts) + 2}, false) + "\n" +
		st.Panel("API requests", kit.Clean(p.Err), strings.Join(lines, "\n"), kit.Area{W: a.W, H: table}, false)
	if chart > 0 {
		out += "\n" + st.Panel("Requests a second", "last hour", x.chart(wholeNumber, kit.Line{Values: p.RequestsPerSecond, Style: st.Accent}).View(st, kit.Area{W: a.W - 4, H: chart - 2}), kit.Area{W: a.W, H: chart}, false)
	}
	return kit.Block(out, a)
}

// planeFacts are lines about storage and scheduling, with sparklines if there is room.
func planeFacts(st *kit.Styles, p *observe.Plane, a kit.Area) []string {
	history := func(left string, values []float64) string {
		w := min(60, a.W-4-9-42)
		if w < 8 {
			return left
		}
		return kit.Fit(left, 42) + st.Accent.Render(kit.Spark(values, kit.Peak(values), w))
	}
	size := "–"
	if !math.IsNaN(p.EtcdBytes) {
		size = kit.Bytes(int64(p.EtcdBytes))
	}
	dim := func(s string) string { return st.Dim.Render(s) }
	return []string{
		field(st, "etcd", history(size+dim("  fsync p99 ")+kit.Seconds(p.FsyncP99), p.FsyncHistory)),
		field(st, "schedule", history(figure(p.SchedulerPending, "%.0f pending")+dim("  ")+figure(p.ScheduledPerSec, "%.1f pods/s")+dim("  p99 ")+kit.Seconds(p.SchedulerP99), p.ScheduledHistory)),
		field(st, "inflight", figure(p.Inflight, "%.0f requests")),
	}
}

// figure writes a number, which is NaN if it is unknown.
func figure(v float64, format string) string {
	if math.IsNaN(v) {
		return "–"
	}
	return fmt.Sprintf(format, v)
}

// verbLines is a table of the requests to the API server by verb.
func verbLines(st *kit.Styles, p *observe.Plane, w int) []string {
	right := func(s string) string { return kit.FitRight(s, 9) }
	lines := []string{st.Dim.Render(kit.Fit("VERB", 20) + right("RATE") + right("ERRORS") + right("P50") + right("P99"))}
	for _, v := range p.Verbs {
		errs := st.Dim.Render(right("0"))
		if v.Errors > 0 {
			errs = st.Bad.Render(right(fmt.Sprintf("%.2f/s", v.Errors)))
		}
		lines = append(lines, kit.Cut(st.Text.Render(kit.Fit(kit.Clean(v.Verb), 20)+right(fmt.Sprintf("%.1f/s", v.Rate)))+errs+
			st.Text.Render(right(kit.Seconds(v.P50))+right(kit.Seconds(v.P99))), w))
	}
	return lines
}
