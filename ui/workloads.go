package ui

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/observe"
)

// workloads lists pods; any other resource is a key (r) away.
type workloads struct {
	m      *Model
	w      *world
	pods   []*corev1.Pod
	states map[*corev1.Pod]observe.PodState
	table  table
	order  podOrder
	seen   *observe.Snapshot // what pods was made from
	made   string            // and with which filter
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

func newWorkloads(m *Model) *workloads {
	p := &workloads{m: m}
	p.table.marked = map[string]bool{}
	p.table.setCols([]column{
		{title: "", min: 1}, {title: "name", min: 30, max: 64},
		{title: "ready", right: true}, {title: "status", min: 18, grow: true}, {title: "restarts", right: true, drop: 3},
		{title: "cpu", min: 5, right: true, drop: 1}, {title: "mem", min: 5, right: true, drop: 1}, {title: "node", max: 20, drop: 5},
		{title: "ip", drop: 6}, {title: "age", right: true, drop: 2},
	})
	return p
}

func (p *workloads) title() string { return "Workloads" }

func (p *workloads) keys() []binding {
	k := p.m.k
	return append(p.m.podKeys(), k.resource, k.mark, k.sort, k.forwards)
}

func (p *workloads) set(w *world) {
	p.w = w
	if made := fmt.Sprint(w.namespace, "\x00", w.filter, "\x00", p.order); w.snap != p.seen || made != p.made || w.filter != "" {
		p.collect(w)
		p.seen, p.made = w.snap, made
	}
	measured := w.snap.Usage != nil && len(w.snap.Usage.Pods) > 0
	for i, c := range p.table.cols {
		p.table.cols[i].off = !measured && (c.title == "cpu" || c.title == "mem")
	}
	pods := p.pods
	p.table.setRows(len(pods), func(i int) string { return pods[i].Namespace + "/" + pods[i].Name },
		func(i int) []cell { return podRow(pods[i], w) })
}

func (p *workloads) collect(w *world) {
	p.pods = make([]*corev1.Pod, 0, len(w.snap.Pods))
	for _, pod := range w.snap.Pods {
		if !w.in(pod.Namespace) {
			continue
		}
		if w.filter != "" {
			s := observe.PodStateOf(pod, w.now)
			if !w.matches(pod.Namespace, pod.Name, pod.Spec.NodeName, s.Text, s.Why, pod.Status.PodIP) {
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
		last, _ := w.snap.Usage.Pod(pod.Namespace, pod.Name).Last()
		switch p.order {
		case byTrouble:
			rank[pod] = int64(observe.PodStateOf(pod, w.now).Level)
		case byCPU:
			rank[pod] = int64(last.MilliCPU)
		case byMemory:
			rank[pod] = last.Bytes()
		case byRestarts:
			rank[pod] = int64(observe.PodStateOf(pod, w.now).Restarts)
		case byAge:
			rank[pod] = pod.CreationTimestamp.Unix()
		}
	}
	slices.SortStableFunc(p.pods, func(a, b *corev1.Pod) int { return cmp.Compare(rank[b], rank[a]) })
}

func podRow(pod *corev1.Pod, w *world) []cell {
	now, u := w.now, w.snap.Usage
	s := observe.PodStateOf(pod, now)
	c, m := "", ""
	if last, ok := u.Pod(pod.Namespace, pod.Name).Last(); ok {
		c, m = cpu(int64(last.MilliCPU)), mem(last.Bytes())
	}
	restarts := soft(strconv.Itoa(s.Restarts))
	if s.Restarts > 0 {
		restarts = txt(strconv.Itoa(s.Restarts))
	}
	return []cell{
		{draw: func(st *styles, _ int) string { return st.dot(s.Level) }}, nameCell(w, pod.Namespace, pod.Name),
		txt(fmt.Sprintf("%d/%d", s.Ready, s.Containers)),
		podCell(s),
		restarts, txt(c), txt(m), soft(pod.Spec.NodeName), soft(pod.Status.PodIP), soft(observe.Span(now.Sub(pod.CreationTimestamp.Time))),
	}
}

func podCell(s observe.PodState) cell {
	return cell{text: s.Text + "  " + s.Why, draw: func(st *styles, w int) string { return cut(podStatus(st, s), w) }}
}

// podStatus is the state, and why in words.
func podStatus(st *styles, s observe.PodState) string {
	out := st.level(s.Level).Render(clean(s.Text))
	if s.Why != "" {
		out += st.text.Render("  ") + st.dim.Render(clean(s.Why))
	}
	return out
}

func (p *workloads) update(msg tea.Msg) tea.Cmd {
	k := p.m.k
	key, isKey := msg.(tea.KeyMsg)
	if isKey {
		switch {
		case k.mark.match(key):
			if id := p.table.current(); id != "" {
				p.table.marked[id] = !p.table.marked[id]
				if !p.table.marked[id] {
					delete(p.table.marked, id)
				}
				p.table.move(1)
			}
			return nil
		case k.sort.match(key):
			p.order = (p.order + 1) % (byAge + 1)
			p.set(p.w)
			return toast(observe.Idle, "ordered by %s", p.order)
		case k.resource.match(key):
			return p.m.ask(p.m.resourcePicker())
		case k.forwards.match(key):
			return p.m.push(newForwards(p.m))
		}
	}
	if p.table.handle(msg, k) || !isKey {
		return nil
	}
	if k.logs.match(key) && len(p.table.marked) > 0 {
		return p.m.openLogs(count(len(p.table.marked), "pod"), p.marked())
	}
	if p.table.cursor < len(p.pods) {
		return p.m.podAction(key, p.pods[p.table.cursor])
	}
	return nil
}

func (p *workloads) marked() []*corev1.Pod {
	var out []*corev1.Pod
	for _, pod := range p.w.snap.Pods {
		if p.table.marked[pod.Namespace+"/"+pod.Name] {
			out = append(out, pod)
		}
	}
	return out
}

func (p *workloads) view(st *styles, a area) string {
	switch {
	case len(p.pods) == 0 && !p.w.snap.Has("pods"):
		return st.skeleton("loading pods", p.w.frame, a)
	case len(p.pods) == 0 && p.w.filter != "":
		return st.empty("No pod matches /"+clean(p.w.filter), "esc clears the filter", a)
	case len(p.pods) == 0 && slices.Contains(p.w.snap.Forbidden, "pods"):
		return st.empty("You may not list pods of all namespaces", "start with kl ui -n NAMESPACE", a)
	case len(p.pods) == 0:
		return st.empty("No pods here", "kubectl run shell --image=…  ·  n chooses another namespace", a)
	}
	var levels [5]int
	for _, pod := range p.pods {
		levels[observe.PodStateOf(pod, p.w.now).Level]++
	}
	sum := " " + st.dim.Render(count(len(p.pods), "pod"))
	for _, l := range []observe.Level{observe.Good, observe.Busy, observe.Warn, observe.Bad} {
		if levels[l] > 0 {
			sum += "  " + st.dot(l) + st.level(l).Render(fmt.Sprintf(" %d", levels[l]))
		}
	}
	right := st.dim.Render("by " + p.order.String() + " ")
	if n := len(p.table.marked); n > 0 {
		right = st.warn.Render(fmt.Sprintf("%d marked ", n))
	}
	list, why := area{a.w, a.h - 1}, ""
	if p.table.cursor < len(p.pods) {
		pod := p.pods[p.table.cursor]
		if s := observe.PodStateOf(pod, p.w.now); s.Why != "" {
			why = whyStrip(st, s.Level, pod.Namespace+"/"+pod.Name, s.Why, a)
			list.h -= strings.Count(why, "\n")
		}
	}
	return spread(sum, right, a.w) + "\n" + p.table.view(st, list, 1, true) + why
}
