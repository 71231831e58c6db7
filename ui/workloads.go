package ui

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	tea "github.com/charmbracelet/bubbletea"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// workloads lists pods. A key leads to a browser for any other resource.
type workloads struct {
	sh      shell
	state   viewState
	pods    []*corev1.Pod
	table   kit.Table
	order   podOrder
	podsFor podsKey // what pods was made from
}

// podsKey is what the list of pods depends on.
type podsKey struct {
	snap              *observe.Snapshot
	namespace, filter string
	order             podOrder
}

type podOrder int

const (
	byName podOrder = iota
	byTrouble
	byCPU
	byMemory
	byRestarts
	byAge
)

func (o podOrder) String() string {
	return [...]string{"name", "trouble", "CPU", "memory", "restarts", "age"}[o]
}

func newWorkloads(sh shell) *workloads {
	p := &workloads{sh: sh}
	p.table.Marked = map[string]bool{}
	p.table.SetCols([]kit.Column{
		{Title: "", Min: 1}, {Title: "name", Min: 30, Max: 64},
		{Title: "ready", Right: true}, {Title: "status", Min: 18, Grow: true}, {Title: "restarts", Right: true, Drop: 3},
		{Title: "cpu", Min: 5, Right: true, Drop: 1}, {Title: "mem", Min: 5, Right: true, Drop: 1}, {Title: "node", Max: 20, Drop: 5},
		{Title: "ip", Drop: 6}, {Title: "age", Right: true, Drop: 2},
	})
	return p
}

func (p *workloads) title() string { return "Workloads" }

func (p *workloads) keys() []kit.Binding {
	k := p.sh.keys()
	return append(podKeys(k), k.resource, k.mark, k.sort, k.forwards)
}

func (p *workloads) setState(v viewState) {
	p.state = v
	if key := (podsKey{v.snap, v.namespace, v.filter, p.order}); key != p.podsFor || v.filter != "" { // a filter may match a changing reason
		p.collect(v)
		p.podsFor = key
	}
	measured := v.snap.Usage != nil && len(v.snap.Usage.Pods) > 0
	p.table.Hide(!measured, "cpu", "mem")
	pods := p.pods
	p.table.SetRows(len(pods), func(i int) string { return pods[i].Namespace + "/" + pods[i].Name },
		func(i int) []kit.Cell { return podRow(pods[i], v) })
}

func (p *workloads) collect(v viewState) {
	p.pods = make([]*corev1.Pod, 0, len(v.snap.Pods))
	for _, pod := range v.snap.Pods {
		if !v.in(pod.Namespace) {
			continue
		}
		if v.filter != "" {
			s := observe.PodStateOf(pod, v.now)
			if !v.matches(pod.Namespace, pod.Name, pod.Spec.NodeName, s.Text, s.Why, pod.Status.PodIP) {
				continue
			}
		}
		p.pods = append(p.pods, pod)
	}
	if p.order == byName {
		return
	}
	rank := make(map[*corev1.Pod]int64, len(p.pods))
	for _, pod := range p.pods {
		last, _ := v.snap.Usage.Pod(pod.Namespace, pod.Name).Last()
		switch p.order {
		case byTrouble:
			rank[pod] = int64(observe.PodStateOf(pod, v.now).Level)
		case byCPU:
			rank[pod] = int64(last.MilliCPU)
		case byMemory:
			rank[pod] = last.Bytes()
		case byRestarts:
			rank[pod] = int64(observe.PodStateOf(pod, v.now).Restarts)
		case byAge:
			rank[pod] = pod.CreationTimestamp.Unix()
		}
	}
	slices.SortStableFunc(p.pods, func(a, b *corev1.Pod) int { return cmp.Compare(rank[b], rank[a]) })
}

func podRow(pod *corev1.Pod, v viewState) []kit.Cell {
	now, u := v.now, v.snap.Usage
	s := observe.PodStateOf(pod, now)
	c, m := "", ""
	if last, ok := u.Pod(pod.Namespace, pod.Name).Last(); ok {
		c, m = kit.CPU(int64(last.MilliCPU)), kit.Bytes(last.Bytes())
	}
	restarts := kit.Dim(strconv.Itoa(s.Restarts))
	if s.Restarts > 0 {
		restarts = kit.Text(strconv.Itoa(s.Restarts))
	}
	return []kit.Cell{
		dotCell(s.Level), nameCell(v, pod.Namespace, pod.Name),
		kit.Text(fmt.Sprintf("%d/%d", s.Ready, s.Containers)),
		podCell(s),
		restarts, kit.Text(c), kit.Text(m), kit.Dim(pod.Spec.NodeName), kit.Dim(pod.Status.PodIP), kit.Dim(observe.Span(now.Sub(pod.CreationTimestamp.Time))),
	}
}

func podCell(s observe.PodState) kit.Cell {
	return kit.Cell{Text: s.Text + "  " + s.Why, Draw: func(st *kit.Styles, w int) string { return kit.Cut(podStatus(st, s), w) }}
}

// podStatus is the state of a pod and the reason.
func podStatus(st *kit.Styles, s observe.PodState) string {
	out := st.Level(levelOf(s.Level)).Render(kit.Clean(s.Text))
	if s.Why != "" {
		out += st.Text.Render("  ") + st.Dim.Render(kit.Clean(s.Why))
	}
	return out
}

func (p *workloads) update(msg tea.Msg) tea.Cmd {
	k := p.sh.keys()
	key, isKey := msg.(tea.KeyMsg)
	if isKey {
		switch {
		case k.mark.Match(key):
			if id := p.table.Current(); id != "" {
				p.table.Marked[id] = !p.table.Marked[id]
				if !p.table.Marked[id] {
					delete(p.table.Marked, id)
				}
				p.table.Move(1)
			}
			return nil
		case k.sort.Match(key):
			p.order = (p.order + 1) % (byAge + 1)
			p.setState(p.state)
			return toast(observe.Idle, "ordered by %s", p.order)
		case k.resource.Match(key):
			return p.sh.ask(resourcePicker(p.sh))
		case k.forwards.Match(key):
			return p.sh.push(newForwards(p.sh))
		}
	}
	if p.table.Handle(msg, k.MoveKeys) || !isKey {
		return nil
	}
	if k.logs.Match(key) && len(p.table.Marked) > 0 {
		return openLogs(p.sh, kit.Count(len(p.table.Marked), "pod"), p.marked())
	}
	if p.table.Cursor < len(p.pods) {
		return podAction(p.sh, key, p.pods[p.table.Cursor])
	}
	return nil
}

func (p *workloads) marked() []*corev1.Pod {
	var out []*corev1.Pod
	for _, pod := range p.state.snap.Pods {
		if p.table.Marked[pod.Namespace+"/"+pod.Name] {
			out = append(out, pod)
		}
	}
	return out
}

func (p *workloads) view(st *kit.Styles, a kit.Area) string {
	switch {
	case len(p.pods) == 0 && !p.state.snap.Has("pods"):
		return st.Skeleton("loading pods", p.state.frame, a)
	case len(p.pods) == 0 && p.state.filter != "":
		return st.Empty("No pod matches /"+kit.Clean(p.state.filter), "esc clears the filter", a)
	case len(p.pods) == 0:
		if what, hint := p.state.refused("pods"); what != "" {
			return st.Empty(what, hint, a)
		}
		return st.Empty("No pods here", "kubectl run shell --image=…  ·  n chooses another namespace", a)
	}
	var levels [5]int
	for _, pod := range p.pods {
		levels[observe.PodStateOf(pod, p.state.now).Level]++
	}
	sum := " " + st.Dim.Render(kit.Count(len(p.pods), "pod"))
	for _, l := range []observe.Level{observe.Good, observe.Busy, observe.Warn, observe.Bad} {
		if levels[l] > 0 {
			sum += "  " + st.Dot(levelOf(l)) + st.Level(levelOf(l)).Render(fmt.Sprintf(" %d", levels[l]))
		}
	}
	right := st.Dim.Render("by " + p.order.String() + " ")
	if n := len(p.table.Marked); n > 0 {
		right = st.Warn.Render(fmt.Sprintf("%d marked ", n))
	}
	why := ""
	if pod, s := p.troubled(); pod != nil {
		why = whyStrip(st, s.Level, pod.Namespace+"/"+pod.Name, s.Why, a)
	}
	return kit.Spread(sum, right, a.W) + "\n" + p.table.View(st, true) + why
}

// troubled is the selected pod with its state, or nil if the state has no reason to show.
func (p *workloads) troubled() (*corev1.Pod, observe.PodState) {
	if p.table.Cursor >= len(p.pods) {
		return nil, observe.PodState{}
	}
	pod := p.pods[p.table.Cursor]
	s := observe.PodStateOf(pod, p.state.now)
	if s.Why == "" {
		return nil, s
	}
	return pod, s
}

func (p *workloads) resize(a kit.Area) {
	list := kit.Area{W: a.W, H: a.H - 1}
	if pod, s := p.troubled(); pod != nil {
		list.H -= whyHeight(pod.Namespace+"/"+pod.Name, s.Why, a)
	}
	p.table.Resize(list, 1)
}
