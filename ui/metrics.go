package ui

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/observe"
)

// metrics shows where CPU and memory go: pods or nodes by use with their history, a chart of the chosen one, autoscalers,
// and the control plane's own figures.
type metrics struct {
	m     *Model
	w     *world
	part  metricsPart
	order metricsOrder
	rows  []usageRow
	pods  table
	hpas  []*autoscalingv2.HorizontalPodAutoscaler
	hpaT  table
	last  [2]any // what rows were made from
	made  string
}

type metricsPart int

const (
	metricPods metricsPart = iota
	metricNodes
	metricScalers
	metricPlane
)

func metricParts() []string { return []string{"Pods", "Nodes", "Autoscalers", "Control plane"} }

type metricsOrder int

const (
	orderCPU metricsOrder = iota
	orderMemory
	orderRestarts
	orderName
)

func (o metricsOrder) String() string { return [...]string{"CPU", "memory", "restarts", "name"}[o] }

// usageRow is a pod or node with its use.
type usageRow struct {
	namespace, name string
	series          observe.Series
	request, limit  observe.Resources
	restarts        int
	level           observe.Level
}

func newMetrics(m *Model) *metrics {
	x := &metrics{m: m}
	x.pods.setCols([]column{{title: "", min: 1}, {title: "name", min: 26, max: 64, grow: true},
		{title: "cpu", min: 5, right: true}, {title: "last hour", min: 10, max: 30, drop: 2}, {title: "of request", right: true, drop: 5},
		{title: "mem", min: 5, right: true}, {title: "last hour", min: 10, max: 30, drop: 3}, {title: "of limit", right: true, drop: 4},
		{title: "restarts", right: true, drop: 6}})
	x.hpaT.setCols([]column{{title: "", min: 1}, {title: "namespace", drop: 3, max: 20}, {title: "name", min: 10, max: 36}, {title: "scales", drop: 2, max: 36},
		{title: "now/target", min: 12, grow: true}, {title: "replicas", min: 8}, {title: "range", drop: 1}})
	return x
}

func (x *metrics) title() string { return "Metrics" }

func (x *metrics) keys() []binding {
	k := x.m.k
	return []binding{bind("m", "pods/nodes/autoscalers/plane", "m"), k.sort, k.logs, k.describe}
}

func (x *metrics) set(w *world) {
	x.w = w
	x.hpas = x.hpas[:0]
	for _, h := range w.snap.Autoscalers {
		if w.in(h.Namespace) && w.matches(h.Namespace, h.Name) {
			x.hpas = append(x.hpas, h)
		}
	}
	hpas := x.hpas
	x.hpaT.setRows(len(hpas), func(i int) string { return hpas[i].Namespace + "/" + hpas[i].Name }, func(i int) []cell { return hpaRow(hpas[i]) })
	if made := fmt.Sprint(w.namespace, "\x00", w.filter, "\x00", x.order, x.part); x.last != [2]any{w.snap.Usage, w.snap} || made != x.made {
		x.collect(w)
		x.last, x.made = [2]any{w.snap.Usage, w.snap}, made
	}
	rows := x.rows
	x.pods.setRows(len(rows), func(i int) string { return rows[i].namespace + "/" + rows[i].name }, func(i int) []cell { return usageCells(&rows[i], w) })
}

func (x *metrics) collect(w *world) {
	x.rows = x.rows[:0]
	if x.part == metricNodes {
		for _, n := range observe.Nodes(w.snap, w.now) {
			if w.matches(n.Name) {
				x.rows = append(x.rows, usageRow{name: n.Name, series: w.snap.Usage.Node(n.Name), level: n.Level,
					request: observe.Resources{MilliCPU: n.MilliCPU, Bytes: n.Memory}, limit: observe.Resources{MilliCPU: n.MilliCPU, Bytes: n.Memory}})
			}
		}
	} else {
		for _, p := range w.snap.Pods {
			if !w.in(p.Namespace) || !w.matches(p.Namespace, p.Name, p.Spec.NodeName) || p.Status.Phase == corev1.PodSucceeded {
				continue
			}
			s := observe.PodStateOf(p, w.now)
			x.rows = append(x.rows, usageRow{p.Namespace, p.Name, w.snap.Usage.Pod(p.Namespace, p.Name), observe.RequestsOf(p), observe.LimitsOf(p), s.Restarts, s.Level})
		}
	}
	if x.order == orderName {
		return
	}
	slices.SortStableFunc(x.rows, func(a, b usageRow) int {
		l, _ := a.series.Last()
		r, _ := b.series.Last()
		switch x.order {
		case orderMemory:
			return cmp.Compare(r.KiB, l.KiB)
		case orderRestarts:
			return cmp.Compare(b.restarts, a.restarts)
		}
		return cmp.Compare(r.MilliCPU, l.MilliCPU)
	})
}

func usageCells(r *usageRow, w *world) []cell {
	c, m := seriesOf(r.series)
	now, ok := r.series.Last()
	cpuText, memText, cpuShare, memShare := "–", "–", "", ""
	if ok {
		cpuText, memText = cpu(int64(now.MilliCPU)), mem(now.Bytes())
		cpuShare, memShare = percent(int64(now.MilliCPU), r.request.MilliCPU), percent(now.Bytes(), r.limit.Bytes)
	}
	line := func(v []float64, top float64) func(*styles, int) string {
		return func(st *styles, w int) string { return st.accent.Render(spark(v, top, w)) }
	}
	return []cell{{draw: func(st *styles, _ int) string { return st.dot(r.level) }}, nameCell(w, r.namespace, r.name), txt(cpuText),
		{draw: line(c, peak(c))}, soft(cpuShare), txt(memText), {draw: line(m, peak(m))}, soft(memShare), soft(strconv.Itoa(r.restarts))}
}

// peak is the top of a chart: a little above the highest value.
func peak(v []float64) float64 {
	top := 0.0
	for _, x := range v {
		top = max(top, x)
	}
	return top * 1.1
}

func hpaRow(h *autoscalingv2.HorizontalPodAutoscaler) []cell {
	level, why := hpaLevel(h)
	low := int32(1)
	if h.Spec.MinReplicas != nil {
		low = *h.Spec.MinReplicas
	}
	return []cell{{draw: func(st *styles, _ int) string { return st.dot(level) }}, soft(h.Namespace), txt(h.Name),
		soft(strings.ToLower(h.Spec.ScaleTargetRef.Kind) + "/" + h.Spec.ScaleTargetRef.Name),
		{draw: func(st *styles, w int) string {
			s := st.text.Render(clean(hpaTargets(h)))
			if why != "" {
				s += "  " + st.level(level).Render(clean(why))
			}
			return cut(s, w)
		}},
		txt(fmt.Sprintf("%d→%d", h.Status.CurrentReplicas, h.Status.DesiredReplicas)), soft(fmt.Sprintf("%d–%d", low, h.Spec.MaxReplicas))}
}

func hpaLevel(h *autoscalingv2.HorizontalPodAutoscaler) (observe.Level, string) {
	for _, c := range h.Status.Conditions {
		switch {
		case c.Type != autoscalingv2.ScalingLimited && c.Status == corev1.ConditionFalse:
			return observe.Bad, c.Message
		case c.Type == autoscalingv2.ScalingLimited && c.Status == corev1.ConditionTrue:
			return observe.Warn, c.Message
		}
	}
	if h.Status.CurrentReplicas != h.Status.DesiredReplicas {
		return observe.Busy, ""
	}
	return observe.Good, ""
}

// hpaTargets writes what is measured against what is wanted.
func hpaTargets(h *autoscalingv2.HorizontalPodAutoscaler) string {
	var out []string
	for i, m := range h.Spec.Metrics {
		if m.Resource == nil {
			out = append(out, strings.ToLower(string(m.Type)))
			continue
		}
		now := "?"
		if i < len(h.Status.CurrentMetrics) && h.Status.CurrentMetrics[i].Resource != nil {
			c := h.Status.CurrentMetrics[i].Resource.Current
			if c.AverageUtilization != nil {
				now = fmt.Sprintf("%d%%", *c.AverageUtilization)
			} else if c.AverageValue != nil {
				now = c.AverageValue.String()
			}
		}
		want := "?"
		if t := m.Resource.Target; t.AverageUtilization != nil {
			want = fmt.Sprintf("%d%%", *t.AverageUtilization)
		} else if t.AverageValue != nil {
			want = t.AverageValue.String()
		}
		out = append(out, fmt.Sprintf("%s %s/%s", m.Resource.Name, now, want))
	}
	return strings.Join(out, ", ")
}

func (x *metrics) update(msg tea.Msg) tea.Cmd {
	k := x.m.k
	key, isKey := msg.(tea.KeyMsg)
	if isKey {
		switch {
		case key.String() == "m":
			x.part = (x.part + 1) % 4
			x.set(x.w)
			return nil
		case k.sort.match(key):
			x.order = (x.order + 1) % 4
			x.set(x.w)
			return nil
		}
	}
	t := &x.pods
	if x.part == metricScalers {
		t = &x.hpaT
	}
	if t.handle(msg, k) || !isKey || x.m.session == nil {
		return nil
	}
	if x.part == metricPods && x.pods.cursor < len(x.rows) {
		r := x.rows[x.pods.cursor]
		for _, p := range x.w.snap.Pods {
			if p.Namespace == r.namespace && p.Name == r.name {
				return x.m.podAction(key, p)
			}
		}
	}
	return nil
}

func (x *metrics) view(st *styles, a area) string {
	var tabs []string
	for i, n := range metricParts() {
		if metricsPart(i) == x.part {
			tabs = append(tabs, st.tabOn.Render(n))
		} else {
			tabs = append(tabs, st.dim.Render(n))
		}
	}
	right := ""
	if x.part <= metricNodes {
		right = st.dim.Render("by " + x.order.String() + " ")
	}
	head := spread(" "+strings.Join(tabs, st.faint.Render(" · ")), right, a.w)
	return head + "\n" + x.content(st, area{a.w, a.h - 1})
}

func (x *metrics) content(st *styles, a area) string {
	u := x.w.snap.Usage
	switch x.part {
	case metricScalers:
		return x.scalers(st, a)
	case metricPlane:
		return x.plane(st, a)
	}
	switch {
	case u == nil && len(x.rows) == 0:
		return st.skeleton("asking metrics.k8s.io", x.w.frame, a)
	case u != nil && u.Err != "" && len(u.Pods) == 0:
		return st.empty("No metrics: "+clean(u.Err), "restarts, requests and limits are in Workloads (5)", a)
	case len(x.rows) == 0:
		return st.empty("Nothing to measure here", "n chooses another namespace, esc clears the filter", a)
	}
	chart := min(14, a.h*2/5)
	if a.h < 16 || a.w < 60 {
		chart = 0
	}
	out := x.pods.view(st, area{a.w, a.h - chart}, 1, true)
	if chart > 0 {
		r := &x.rows[min(x.pods.cursor, len(x.rows)-1)]
		c, m := seriesOf(r.series)
		left := a.w / 2
		now, _ := r.series.Last()
		out += "\n" + beside(
			st.panel("CPU · "+r.name, cpu(int64(now.MilliCPU))+" of "+cpu(r.request.MilliCPU), drawChart(st, c, x.period(), func(v float64) string { return cpu(int64(v)) }, area{left - 4, chart - 2}, st.accent), area{left, chart}, false),
			st.panel("Memory", mem(now.Bytes())+limitNote(r), drawChart(st, m, x.period(), func(v float64) string { return mem(int64(v)) }, area{a.w - left - 4, chart - 2}, st.good), area{a.w - left, chart}, false))
	}
	return out
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

func (x *metrics) scalers(st *styles, a area) string {
	switch {
	case len(x.hpas) == 0 && !x.w.snap.Has("horizontalpodautoscalers"):
		return st.skeleton("loading autoscalers", x.w.frame, a)
	case len(x.hpas) == 0:
		return st.empty("No HorizontalPodAutoscaler here", "kubectl autoscale deployment web --min=1 --max=5 --cpu=80%", a)
	}
	history := min(8, a.h/3)
	h := x.hpas[min(x.hpaT.cursor, len(x.hpas)-1)]
	events := eventLines(st, x.w.snap.EventsOf(h.UID), x.w.now, area{a.w - 4, history - 2}, false)
	return x.hpaT.view(st, area{a.w, a.h - history}, 1, true) + "\n" + st.panel("History of "+h.Name, "", events, area{a.w, history}, false)
}

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
	facts := []string{
		field(st, "etcd", bytes(p.EtcdBytes)+st.dim.Render("  fsync p99 ")+secs(p.FsyncP99)),
		field(st, "schedule", num(p.SchedulerPending, "%.0f pending")+st.dim.Render("  ")+num(p.ScheduledPerSec, "%.1f/s")+st.dim.Render("  p99 ")+secs(p.SchedulerP99)),
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
		out += "\n" + st.panel("Requests a second", "last hour", drawChart(st, p.RequestsPerSecond, x.period(), func(v float64) string { return fmt.Sprintf("%.0f", v) }, area{a.w - 4, chart - 2}, st.accent), area{a.w, chart}, false)
	}
	return block(out, a)
}
