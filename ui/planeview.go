package ui

import (
	"fmt"
	"github.com/klkube/kl/ui/kit"
	"math"
	"strings"
)

func (x *metrics) plane(st *kit.Styles, a kit.Area) string {
	p := x.w.snap.Plane
	switch {
	case p == nil:
		return st.Skeleton("asking the API server for its metrics", x.w.frame, a)
	case len(p.Verbs) == 0:
		return st.Empty("No control plane metrics", kit.Clean(p.Err), a)
	}
	bytes := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		return kit.Bytes(int64(v))
	}
	num := func(v float64, format string) string {
		if math.IsNaN(v) {
			return "–"
		}
		return fmt.Sprintf(format, v)
	}
	history := func(left string, values []float64) string {
		w := min(60, a.W-4-9-42)
		if w < 8 {
			return left
		}
		return kit.Fit(left, 42) + st.Accent.Render(kit.Spark(values, kit.Peak(values), w))
	}
	facts := []string{
		field(st, "etcd", history(bytes(p.EtcdBytes)+st.Dim.Render("  fsync p99 ")+kit.Seconds(p.FsyncP99), p.FsyncHistory)),
		field(st, "schedule", history(num(p.SchedulerPending, "%.0f pending")+st.Dim.Render("  ")+num(p.ScheduledPerSec, "%.1f pods/s")+st.Dim.Render("  p99 ")+kit.Seconds(p.SchedulerP99), p.ScheduledHistory)),
		field(st, "inflight", num(p.Inflight, "%.0f requests")),
	}
	w := a.W - 4
	lines := []string{st.Dim.Render(kit.Fit("VERB", 20) + kit.FitRight("RATE", 9) + kit.FitRight("ERRORS", 9) + kit.FitRight("P50", 9) + kit.FitRight("P99", 9))}
	for _, v := range p.Verbs {
		errs := st.Dim.Render(kit.FitRight("0", 9))
		if v.Errors > 0 {
			errs = st.Bad.Render(kit.FitRight(fmt.Sprintf("%.2f/s", v.Errors), 9))
		}
		lines = append(lines, kit.Cut(st.Text.Render(kit.Fit(kit.Clean(v.Verb), 20)+kit.FitRight(fmt.Sprintf("%.1f/s", v.Rate), 9))+errs+st.Text.Render(kit.FitRight(kit.Seconds(v.P50), 9)+kit.FitRight(kit.Seconds(v.P99), 9)), w))
	}
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
