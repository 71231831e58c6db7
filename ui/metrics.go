package ui

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// metrics shows where CPU and memory go: pods or nodes by use with their history, a chart of the chosen one, autoscalers,
// and the control plane's own figures.
type metrics struct {
	m     *Model
	w     *world
	part  metricsPart
	order metricsOrder
	rows  []usageRow
	pods  kit.Table
	hpas  []*autoscalingv2.HorizontalPodAutoscaler
	hpaT  kit.Table
	last  [2]any // what rows were made from
	made  string
	other bool // show network and restarts where there is room for two charts only
	all   bool // there was room for all
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
	orderNetwork
	orderRestarts
	orderName
)

func (o metricsOrder) String() string {
	return [...]string{"CPU", "memory", "network", "restarts", "name"}[o]
}

// usageRow is a pod or node with its use.
type usageRow struct {
	namespace, name string
	series          observe.Series
	traffic         []observe.Rate
	restarted       []int32 // its history
	request, limit  observe.Resources
	restarts        int
	level           observe.Level
}

func newMetrics(m *Model) *metrics {
	x := &metrics{m: m}
	x.pods.SetCols([]kit.Column{{Title: "", Min: 1}, {Title: "name", Min: 26, Max: 64, Grow: true},
		{Title: "cpu", Min: 5, Right: true}, {Title: "last hour", Min: 10, Max: 30, Drop: 2}, {Title: "of request", Right: true, Drop: 5},
		{Title: "mem", Min: 5, Right: true}, {Title: "last hour", Min: 10, Max: 30, Drop: 3}, {Title: "of limit", Right: true, Drop: 4},
		{Title: "network", Right: true, Drop: 7}, {Title: "restarts", Right: true, Drop: 6}})
	x.hpaT.SetCols([]kit.Column{{Title: "", Min: 1}, {Title: "namespace", Drop: 3, Max: 20}, {Title: "name", Min: 10, Max: 36}, {Title: "scales", Drop: 2, Max: 36},
		{Title: "now/target", Min: 12, Grow: true}, {Title: "replicas", Min: 8}, {Title: "range", Drop: 1}})
	return x
}

func (x *metrics) title() string { return "Metrics" }

func (x *metrics) keys() []kit.Binding {
	k := x.m.k
	keys := []kit.Binding{kit.Bind("m", "pods/nodes/autoscalers/plane", "m")}
	if x.part <= metricNodes && !x.all {
		keys = append(keys, k.charts)
	}
	switch x.part {
	case metricPods:
		keys = append(keys, k.sort, k.logs, k.describe)
	case metricNodes:
		keys = append(keys, k.sort)
	}
	return keys
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
	x.hpaT.SetRows(len(hpas), func(i int) string { return hpas[i].Namespace + "/" + hpas[i].Name }, func(i int) []kit.Cell { return hpaRow(hpas[i]) })
	if made := fmt.Sprint(w.namespace, "\x00", w.filter, "\x00", x.order, x.part); x.last != [2]any{w.snap.Usage, w.snap} || made != x.made {
		x.collect(w)
		x.last, x.made = [2]any{w.snap.Usage, w.snap}, made
	}
	rows := x.rows
	x.pods.SetRows(len(rows), func(i int) string { return rows[i].namespace + "/" + rows[i].name }, func(i int) []kit.Cell { return usageCells(&rows[i], w) })
}

func (x *metrics) collect(w *world) {
	x.rows = x.rows[:0]
	if x.part == metricNodes {
		for _, n := range observe.Nodes(w.snap, w.now) {
			if w.matches(n.Name) {
				restarted := w.snap.Activity.Node(n.Name)
				x.rows = append(x.rows, usageRow{name: n.Name, series: w.snap.Usage.Node(n.Name), level: n.Level,
					traffic: w.snap.Traffic.Node(n.Name), restarted: restarted, restarts: int(last(restarted)),
					request: observe.Resources{MilliCPU: n.MilliCPU, Bytes: n.Memory}, limit: observe.Resources{MilliCPU: n.MilliCPU, Bytes: n.Memory}})
			}
		}
	} else {
		for _, p := range w.snap.Pods {
			if !w.in(p.Namespace) || !w.matches(p.Namespace, p.Name, p.Spec.NodeName) || p.Status.Phase == corev1.PodSucceeded {
				continue
			}
			s := observe.PodStateOf(p, w.now)
			x.rows = append(x.rows, usageRow{p.Namespace, p.Name, w.snap.Usage.Pod(p.Namespace, p.Name), w.snap.Traffic.Pod(p.Namespace, p.Name),
				w.snap.Activity.Pod(p.Namespace, p.Name), observe.RequestsOf(p), observe.LimitsOf(p), s.Restarts, s.Level})
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
		case orderNetwork:
			return cmp.Compare(total(b.traffic), total(a.traffic))
		case orderRestarts:
			return cmp.Compare(b.restarts, a.restarts)
		}
		return cmp.Compare(r.MilliCPU, l.MilliCPU)
	})
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
		case k.charts.Match(key):
			x.other = !x.other
			return nil
		case k.sort.Match(key):
			x.order = (x.order + 1) % (orderName + 1)
			x.set(x.w)
			return nil
		}
	}
	t := &x.pods
	if x.part == metricScalers {
		t = &x.hpaT
	}
	if t.Handle(msg, k.MoveKeys) || !isKey || x.m.session == nil {
		return nil
	}
	if x.part == metricPods && x.pods.Cursor < len(x.rows) {
		r := x.rows[x.pods.Cursor]
		for _, p := range x.w.snap.Pods {
			if p.Namespace == r.namespace && p.Name == r.name {
				return x.m.podAction(key, p)
			}
		}
	}
	return nil
}

func (x *metrics) view(st *kit.Styles, a kit.Area) string {
	var tabs []string
	for i, n := range metricParts() {
		if metricsPart(i) == x.part {
			tabs = append(tabs, st.TabOn.Render(n))
		} else {
			tabs = append(tabs, st.Dim.Render(n))
		}
	}
	right := ""
	if x.part <= metricNodes {
		right = st.Dim.Render("by " + x.order.String() + " ")
	}
	head := kit.Spread(" "+strings.Join(tabs, st.Faint.Render(" · ")), right, a.W)
	return head + "\n" + x.content(st, kit.Area{W: a.W, H: a.H - 1})
}

func (x *metrics) content(st *kit.Styles, a kit.Area) string {
	u := x.w.snap.Usage
	switch x.part {
	case metricScalers:
		return x.scalers(st, a)
	case metricPlane:
		return x.plane(st, a)
	}
	switch {
	case u == nil && len(x.rows) == 0:
		return st.Skeleton("asking metrics.k8s.io", x.w.frame, a)
	case u != nil && u.Err != "" && len(u.Pods) == 0 && (x.w.snap.Traffic == nil || len(x.w.snap.Traffic.Nodes) == 0):
		return st.Empty("No metrics: "+kit.Clean(u.Err), "restarts, requests and limits are in Workloads (5)", a)
	case len(x.rows) == 0:
		return st.Empty("Nothing to measure here", "n chooses another namespace, esc clears the filter", a)
	}
	lines, perRow := chartRoom(a)
	if lines == 0 {
		return x.pods.View(st, a, 1, true)
	}
	charts := x.charts(st, &x.rows[min(x.pods.Cursor, len(x.rows)-1)], lines, perRow, a.W)
	return x.pods.View(st, kit.Area{W: a.W, H: a.H - strings.Count(charts, "\n") - 1}, 1, true) + "\n" + charts
}
