package ui

import (
	"fmt"
	"math"
	"strings"
)

func (x *metrics) plane(st *styles, a area) string {
	p := x.w.snap.Plane
	switch {
	case p == nil:
		return st.skeleton("asking the API server for its metrics", x.w.frame, a)
	case len(p.Verbs) == 0:
		return st.empty("No control plane metrics", clean(p.Err), a)
	}
	bytes := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		return mem(int64(v))
	}
	num := func(v float64, format string) string {
		if math.IsNaN(v) {
			return "–"
		}
		return fmt.Sprintf(format, v)
	}
	history := func(left string, values []float64) string {
		w := min(60, a.w-4-9-42)
		if w < 8 {
			return left
		}
		return fit(left, 42) + st.accent.Render(spark(values, peak(values), w))
	}
	facts := []string{
		field(st, "etcd", history(bytes(p.EtcdBytes)+st.dim.Render("  fsync p99 ")+secs(p.FsyncP99), p.FsyncHistory)),
		field(st, "schedule", history(num(p.SchedulerPending, "%.0f pending")+st.dim.Render("  ")+num(p.ScheduledPerSec, "%.1f pods/s")+st.dim.Render("  p99 ")+secs(p.SchedulerP99), p.ScheduledHistory)),
		field(st, "inflight", num(p.Inflight, "%.0f requests")),
	}
	w := a.w - 4
	lines := []string{st.dim.Render(fit("VERB", 20) + fitRight("RATE", 9) + fitRight("ERRORS", 9) + fitRight("P50", 9) + fitRight("P99", 9))}
	for _, v := range p.Verbs {
		errs := st.dim.Render(fitRight("0", 9))
		if v.Errors > 0 {
			errs = st.bad.Render(fitRight(fmt.Sprintf("%.2f/s", v.Errors), 9))
		}
		lines = append(lines, cut(st.text.Render(fit(clean(v.Verb), 20)+fitRight(fmt.Sprintf("%.1f/s", v.Rate), 9))+errs+st.text.Render(fitRight(secs(v.P50), 9)+fitRight(secs(v.P99), 9)), w))
	}
	chart := max(0, min(10, a.h-len(facts)-2-len(lines)-2))
	if chart < 5 {
		chart = 0
	}
	table := max(3, a.h-len(facts)-2-chart)
	out := st.panel("Storage and scheduling", "", strings.Join(facts, "\n"), area{a.w, len(facts) + 2}, false) + "\n" +
		st.panel("API requests", clean(p.Err), strings.Join(lines, "\n"), area{a.w, table}, false)
	if chart > 0 {
		out += "\n" + st.panel("Requests a second", "last hour", drawChart(st, x.period(), func(v float64) string { return fmt.Sprintf("%.0f", v) }, area{a.w - 4, chart - 2}, line{p.RequestsPerSecond, st.accent}), area{a.w, chart}, false)
	}
	return block(out, a)
}
