package ui

import (
	"cmp"
	"slices"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// metrics lists pods or nodes by their use of CPU and memory, with charts of the selected one, the autoscalers, and the
// metrics of the control plane.
type metrics struct {
	sh      shell
	state   viewState
	part    metricsPart
	order   metricsOrder
	rows    []usageRow
	rowsFor metricsKey // what rows was made from
	usage   kit.Table
	hpas    []*autoscalingv2.HorizontalPodAutoscaler
	scaling kit.Table
	other   bool // show network and restarts where there is room for two charts only
	all     bool // there is room for all charts
}

// metricsKey is what the rows depend on.
type metricsKey struct {
	snap              *observe.Snapshot
	namespace, filter string
	order             metricsOrder
	part              metricsPart
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

// usageRow is a pod or node and what it uses.
type usageRow struct {
	namespace, name string
	series          observe.Series
	traffic         []observe.Rate
	restarted       []int32 // history of restarts
	request, limit  observe.Resources
	restarts        int
	level           observe.Level
}

func newMetrics(sh shell) *metrics {
	x := &metrics{sh: sh}
	x.usage.SetCols([]kit.Column{{Title: "", Min: 1}, {Title: "name", Min: 26, Max: 64, Grow: true},
		{Title: "cpu", Min: 5, Right: true}, {Title: "last hour", Min: 10, Max: 30, Drop: 2}, {Title: "of request", Right: true, Drop: 5},
		{Title: "mem", Min: 5, Right: true}, {Title: "last hour", Min: 10, Max: 30, Drop: 3}, {Title: "of limit", Right: true, Drop: 4},
		{Title: "network", Right: true, Drop: 7}, {Title: "restarts", Right: true, Drop: 6}})
	x.scaling.SetCols([]kit.Column{{Title: "", Min: 1}, {Title: "namespace", Drop: 3, Max: 20}, {Title: "name", Min: 10, Max: 36}, {Title: "scales", Drop: 2, Max: 36},
		{Title: "now/target", Min: 12, Grow: true}, {Title: "replicas", Min: 8}, {Title: "range", Drop: 1}})
	return x
}

func (x *metrics) title() string { return "Metrics" }

func (x *metrics) keys() []kit.Binding {
	k := x.sh.keys()
	keys := []kit.Binding{k.metricsView}
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

func (x *metrics) setState(v viewState) {
	x.state = v
	x.hpas = x.hpas[:0]
	for _, h := range v.snap.Autoscalers {
		if v.in(h.Namespace) && v.matches(h.Namespace, h.Name) {
			x.hpas = append(x.hpas, h)
		}
	}
	hpas := x.hpas
	x.scaling.SetRows(len(hpas), func(i int) string { return hpas[i].Namespace + "/" + hpas[i].Name }, func(i int) []kit.Cell { return hpaRow(hpas[i]) })
	if key := (metricsKey{v.snap, v.namespace, v.filter, x.order, x.part}); key != x.rowsFor {
		x.collect(v)
		x.rowsFor = key
	}
	rows := x.rows
	x.usage.SetRows(len(rows), func(i int) string { return rows[i].namespace + "/" + rows[i].name }, func(i int) []kit.Cell { return usageCells(&rows[i], v) })
}

// collect makes the rows of pods or nodes and sorts them.
func (x *metrics) collect(v viewState) {
	if x.part == metricNodes {
		x.rows = nodeRows(v)
	} else {
		x.rows = podRows(v)
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

func nodeRows(v viewState) []usageRow {
	var rows []usageRow
	for _, n := range observe.Nodes(v.snap, v.now) {
		if !v.matches(n.Name) {
			continue
		}
		restarted := v.snap.Activity.Node(n.Name)
		rows = append(rows, usageRow{name: n.Name, series: v.snap.Usage.Node(n.Name), level: n.Level,
			traffic: v.snap.Traffic.Node(n.Name), restarted: restarted, restarts: int(last(restarted)),
			request: observe.Resources{MilliCPU: n.MilliCPU, Bytes: n.Memory}, limit: observe.Resources{MilliCPU: n.MilliCPU, Bytes: n.Memory}})
	}
	return rows
}

func podRows(v viewState) []usageRow {
	var rows []usageRow
	for _, p := range v.snap.Pods {
		if !v.in(p.Namespace) || !v.matches(p.Namespace, p.Name, p.Spec.NodeName) || p.Status.Phase == corev1.PodSucceeded {
			continue
		}
		s := observe.PodStateOf(p, v.now)
		rows = append(rows, usageRow{namespace: p.Namespace, name: p.Name, series: v.snap.Usage.Pod(p.Namespace, p.Name),
			traffic: v.snap.Traffic.Pod(p.Namespace, p.Name), restarted: v.snap.Activity.Pod(p.Namespace, p.Name),
			request: observe.RequestsOf(p), limit: observe.LimitsOf(p), restarts: s.Restarts, level: s.Level})
	}
	return rows
}

func (x *metrics) update(msg tea.Msg) tea.Cmd {
	k := x.sh.keys()
	key, isKey := msg.(tea.KeyMsg)
	if isKey {
		switch {
		case k.metricsView.Match(key):
			x.part = (x.part + 1) % 4
			x.setState(x.state)
			return nil
		case k.charts.Match(key):
			x.other = !x.other
			return nil
		case k.sort.Match(key):
			x.order = (x.order + 1) % (orderName + 1)
			x.setState(x.state)
			return nil
		}
	}
	t := &x.usage
	if x.part == metricScalers {
		t = &x.scaling
	}
	if t.Handle(msg, k.MoveKeys) || !isKey || x.sh.session() == nil {
		return nil
	}
	if x.part == metricPods && x.usage.Cursor < len(x.rows) {
		r := x.rows[x.usage.Cursor]
		for _, p := range x.state.snap.Pods {
			if p.Namespace == r.namespace && p.Name == r.name {
				return podAction(x.sh, key, p)
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

// content draws the chosen part.
func (x *metrics) content(st *kit.Styles, a kit.Area) string {
	switch x.part {
	case metricScalers:
		return x.scalers(st, a)
	case metricPlane:
		return x.plane(st, a)
	}
	if len(x.rows) == 0 || x.unmeasured() {
		return x.blank(st, a)
	}
	lines, perLine := chartRoom(a)
	if lines == 0 {
		return x.usage.View(st, true)
	}
	return x.usage.View(st, true) + "\n" + x.charts(st, &x.rows[min(x.usage.Cursor, len(x.rows)-1)], lines, perLine, a.W)
}

// unmeasured reports whether no metrics could be read.
func (x *metrics) unmeasured() bool {
	s := x.state.snap
	return s.Usage != nil && s.Usage.Err != "" && len(s.Usage.Pods) == 0 && (s.Traffic == nil || len(s.Traffic.Nodes) == 0)
}

// blank says why there is nothing to show.
func (x *metrics) blank(st *kit.Styles, a kit.Area) string {
	switch {
	case x.state.snap.Usage == nil && len(x.rows) == 0:
		return st.Skeleton("asking metrics.k8s.io", x.state.frame, a)
	case x.unmeasured():
		return st.Empty("No metrics: "+kit.Clean(x.state.snap.Usage.Err), "restarts, requests and limits are in Workloads (5)", a)
	}
	return st.Empty("Nothing to measure here", "n chooses another namespace, esc clears the filter", a)
}

func (x *metrics) resize(a kit.Area) {
	a.H-- // the line of tabs
	if x.part == metricScalers {
		bottom, _ := scalerRoom(a)
		x.scaling.Resize(kit.Area{W: a.W, H: a.H - bottom}, 1)
		return
	}
	lines, perLine := chartRoom(a)
	x.all = len(x.rows) > 0 && !x.unmeasured() && lines*perLine >= chartCount
	x.usage.Resize(kit.Area{W: a.W, H: a.H - lines*chartHeight(lines)}, 1)
}
