package ui

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// nodes lists nodes with how full they are; below, the chosen one in detail. Where the cluster is kl's, its verbs are
// here.
type nodes struct {
	m     *Model
	w     *world
	list  []observe.NodeState
	table kit.Table
}

func newNodes(m *Model) *nodes {
	n := &nodes{m: m}
	n.table.SetCols([]kit.Column{
		{Title: "", Min: 1}, {Title: "name", Min: 6, Max: 40, Grow: true}, {Title: "status", Min: 5, Max: 30}, {Title: "cpu", Min: 10, Max: 26},
		{Title: "memory", Min: 10, Max: 26}, {Title: "pods", Right: true}, {Title: "roles", Drop: 4, Max: 20},
		{Title: "kubelet", Drop: 3}, {Title: "ip", Drop: 2}, {Title: "age", Right: true, Drop: 1},
	})
	return n
}

func (n *nodes) title() string { return "Nodes" }

func (n *nodes) keys() []kit.Binding {
	k := n.m.k
	keys := []kit.Binding{k.open, k.describe, k.yaml, k.events, k.cordon}
	if n.m.ours() {
		keys = append(keys, k.shell, k.stop, k.start, k.kill, k.cut, k.heal)
	}
	return keys
}

// ours reports whether the cluster is one of kl's on this machine, with node verbs.
func (m *Model) ours() bool {
	return m.session != nil && m.session.target.Layout != nil && m.opts.NodeVerb != nil
}

func (n *nodes) set(w *world) {
	n.w = w
	n.list = n.list[:0]
	for _, s := range observe.Nodes(w.snap, w.now) {
		if w.matches(s.Name, s.Text, s.Roles, s.Why, s.Kubelet) {
			n.list = append(n.list, s)
		}
	}
	list := n.list
	n.table.SetRows(len(list), func(i int) string { return list[i].Name }, func(i int) []kit.Cell {
		s := &list[i]
		return []kit.Cell{
			dotCell(s.Level), kit.Text(s.Name),
			{Text: s.Text, Draw: func(st *kit.Styles, w int) string { return kit.Cut(st.Level(levelOf(s.Level)).Render(s.Text), w) }},
			{Draw: func(st *kit.Styles, w int) string {
				return meter(st, s.MilliCPUUsed, s.MilliCPURequested, s.MilliCPU, s.Measured, kit.CPU, w)
			}},
			{Draw: func(st *kit.Styles, w int) string {
				return meter(st, s.MemoryUsed, s.MemoryRequested, s.Memory, s.Measured, kit.Bytes, w)
			}},
			kit.Text(fmt.Sprintf("%d/%d", s.Pods, s.PodLimit)), kit.Dim(s.Roles), kit.Dim(s.Kubelet), kit.Dim(address(s.Node)),
			kit.Dim(observe.Span(w.now.Sub(s.Created))),
		}
	})
}

func address(n *corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return ""
}

// meter is a gauge of what is used (or, without metrics, requested) of a capacity, with the amount.
func meter(st *kit.Styles, used, requested, whole int64, measured bool, unit func(int64) string, w int) string {
	v := used
	if !measured {
		v = requested
	}
	if whole <= 0 {
		return st.Dim.Render(kit.Fit("–", w))
	}
	label := kit.FitRight(unit(v), 5)
	if w < 12 {
		return st.Load(float64(v) / float64(whole)).Render(kit.FitRight(kit.Percent(v, whole), 4))
	}
	return st.Gauge(float64(v)/float64(whole), w-6) + st.Text.Render(" "+label)
}

func nodeResource() observe.Resource {
	return observe.Resource{GVR: schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, Kind: "Node"}
}

func (n *nodes) update(msg tea.Msg) tea.Cmd {
	if n.table.Handle(msg, n.m.k.MoveKeys) {
		return nil
	}
	key, ok := msg.(tea.KeyMsg)
	if !ok || n.table.Cursor >= len(n.list) || n.m.session == nil {
		return nil
	}
	k, s := n.m.k, n.list[n.table.Cursor]
	switch {
	case k.open.Match(key):
		return n.m.push(newNodePods(n.m, s.Name))
	case k.describe.Match(key), k.yaml.Match(key):
		return n.m.inspect(key, nodeResource(), "Node", "", s.Name)
	case k.events.Match(key):
		return n.m.inspect(key, nodeResource(), "Node", "", s.Name)
	case k.cordon.Match(key):
		return n.confirmCordon(s)
	case n.m.ours() && k.shell.Match(key) && n.m.opts.NodeShell != nil:
		sess, shell := n.m.session, n.m.opts.NodeShell
		return sess.run(func(ctx context.Context) tea.Msg { return localMsg{shell(ctx, sess.target, s.Name)} })
	case n.m.ours():
		return n.verb(key, s.Name)
	}
	return nil
}

func (n *nodes) confirmCordon(s observe.NodeState) tea.Cmd {
	sess, on := n.m.session, !s.Node.Spec.Unschedulable
	verb, what := "cordon", "It takes no new pods; those it has stay."
	if !on {
		verb, what = "uncordon", "It takes new pods again."
	}
	return n.m.ask(&kit.Confirm{Title: strings.ToUpper(verb[:1]) + verb[1:] + " " + s.Name, Verb: verb, Lines: []string{what},
		Then: sess.do(verb+"ed "+s.Name, func(ctx context.Context) error { return sess.act.Cordon(ctx, s.Name, on) })})
}

// verb asks and then runs one of kl's own verbs on a node.
func (n *nodes) verb(key tea.KeyMsg, node string) tea.Cmd {
	k := n.m.k
	verbs := []struct {
		key        kit.Binding
		verb, what string
		grave      bool
	}{
		{k.stop, "stop", "It is shut down; its pods move after a while.", true},
		{k.start, "start", "It is turned on again with its data and address.", false},
		{k.kill, "kill", "It is ended at once, as by a power failure.", true},
		{k.cut, "partition", "It is cut off from the control plane and the other nodes.", true},
		{k.heal, "heal", "It may talk to the control plane and the other nodes again.", false},
	}
	for _, v := range verbs {
		if !v.key.Match(key) {
			continue
		}
		sess, do := n.m.session, n.m.opts.NodeVerb
		return n.m.ask(&kit.Confirm{Title: strings.ToUpper(v.verb[:1]) + v.verb[1:] + " node " + node, Verb: v.verb, Grave: v.grave, Lines: []string{v.what},
			Then: tea.Sequence(toast(observe.Busy, "%s %s …", v.verb, node),
				sess.do(v.verb+" "+node+": done", func(ctx context.Context) error { return do(ctx, sess.target, node, v.verb) }))})
	}
	return nil
}

func (n *nodes) view(st *kit.Styles, a kit.Area) string {
	switch {
	case len(n.list) == 0 && !n.w.snap.Has("nodes"):
		return st.Skeleton("loading nodes", n.w.frame, a)
	case len(n.list) == 0 && n.w.filter != "":
		return st.Empty("No node matches /"+kit.Clean(n.w.filter), "esc clears the filter", a)
	case len(n.list) == 0:
		return st.Empty("No nodes", "kl node add makes one", a)
	}
	detail := 9
	if a.H < 18 || a.W < 50 {
		return n.table.View(st, a, 0, true)
	}
	top := n.table.View(st, kit.Area{W: a.W, H: a.H - detail}, 0, true)
	s := &n.list[min(n.table.Cursor, len(n.list)-1)]
	note := s.Kubelet
	if s.KL && !s.Connected {
		note = "tunnel down · " + note
	}
	return top + "\n" + st.Panel(s.Name, note, n.detail(st, s, kit.Area{W: a.W - 4, H: detail - 2}), kit.Area{W: a.W, H: detail}, false)
}

func (n *nodes) detail(st *kit.Styles, s *observe.NodeState, a kit.Area) string {
	var lines []string
	state := st.Dot(levelOf(s.Level)) + " " + st.Level(levelOf(s.Level)).Render(s.Text)
	if s.Why != "" {
		state += "  " + st.Dim.Render(kit.Clean(s.Why))
	}
	lines = append(lines, state)
	half := a.W/2 - 2
	row := func(name string, used, req, whole int64, unit func(int64) string, series []float64, top float64) string {
		if !s.Measured {
			used = -1
		}
		text := fmt.Sprintf("%-7s %6s used  %6s requested  %6s", name, unit(used), unit(req), unit(whole))
		return st.Text.Render(kit.Fit(text, max(half, 46))) + "  " + st.Accent.Render(kit.Spark(series, top, max(0, min(60, a.W-max(half, 46)-2))))
	}
	c, m := seriesOf(n.w.snap.Usage.Node(s.Name))
	lines = append(lines, row("CPU", s.MilliCPUUsed, s.MilliCPURequested, s.MilliCPU, kit.CPU, c, float64(s.MilliCPU)),
		row("memory", s.MemoryUsed, s.MemoryRequested, s.Memory, kit.Bytes, m, float64(s.Memory)))
	var conds []string
	for _, c := range s.Node.Status.Conditions {
		level := observe.Good
		if (c.Type == corev1.NodeReady) != (c.Status == corev1.ConditionTrue) {
			level = observe.Bad
		}
		conds = append(conds, st.Dot(levelOf(level))+" "+st.Dim.Render(string(c.Type)))
	}
	lines = append(lines, strings.Join(conds, "   "))
	var taints []string
	for _, t := range s.Node.Spec.Taints {
		taints = append(taints, t.ToString())
	}
	if len(taints) > 0 {
		lines = append(lines, st.Dim.Render("taints  ")+st.Text.Render(kit.Clean(strings.Join(taints, "  "))))
	}
	info := s.Node.Status.NodeInfo
	lines = append(lines, st.Dim.Render(kit.Clean(strings.Join([]string{info.OSImage, "kernel " + info.KernelVersion, info.ContainerRuntimeVersion, info.Architecture}, " · "))))
	return strings.Join(lines, "\n")
}

// seriesOf splits a history into millicores and bytes.
func seriesOf(s observe.Series) (c, m []float64) {
	for _, x := range s {
		c = append(c, float64(x.MilliCPU))
		m = append(m, float64(x.Bytes()))
	}
	return c, m
}

// nodePods lists the pods of a node.
type nodePods struct {
	m     *Model
	w     *world
	node  string
	pods  []*corev1.Pod
	table kit.Table
}

func newNodePods(m *Model, node string) *nodePods {
	n := &nodePods{m: m, node: node}
	n.table.SetCols([]kit.Column{{Title: "", Min: 1}, {Title: "namespace", Drop: 3, Max: 20}, {Title: "name", Min: 14, Max: 52}, {Title: "status", Min: 10, Grow: true},
		{Title: "restarts", Right: true, Drop: 2}, {Title: "cpu", Right: true, Min: 5}, {Title: "mem", Right: true, Min: 5}, {Title: "age", Right: true, Drop: 1}})
	return n
}

func (n *nodePods) title() string       { return n.node }
func (n *nodePods) keys() []kit.Binding { return n.m.podKeys() }

func (n *nodePods) set(w *world) {
	n.w, n.pods = w, n.pods[:0]
	for _, p := range w.snap.PodsOn(n.node) {
		if w.in(p.Namespace) && w.matches(p.Namespace, p.Name) {
			n.pods = append(n.pods, p)
		}
	}
	pods := n.pods
	n.table.SetRows(len(pods), func(i int) string { return pods[i].Namespace + "/" + pods[i].Name }, func(i int) []kit.Cell {
		p := pods[i]
		s := observe.PodStateOf(p, w.now)
		c, m := "", ""
		if last, ok := w.snap.Usage.Pod(p.Namespace, p.Name).Last(); ok {
			c, m = kit.CPU(int64(last.MilliCPU)), kit.Bytes(last.Bytes())
		}
		return []kit.Cell{dotCell(s.Level), kit.Dim(p.Namespace), kit.Text(p.Name),
			podCell(s), kit.Dim(strconv.Itoa(s.Restarts)),
			kit.Text(c), kit.Text(m), kit.Dim(observe.Span(w.now.Sub(p.CreationTimestamp.Time)))}
	})
}

func (n *nodePods) update(msg tea.Msg) tea.Cmd {
	if n.table.Handle(msg, n.m.k.MoveKeys) {
		return nil
	}
	if key, ok := msg.(tea.KeyMsg); ok && n.table.Cursor < len(n.pods) {
		return n.m.podAction(key, n.pods[n.table.Cursor])
	}
	return nil
}

func (n *nodePods) view(st *kit.Styles, a kit.Area) string {
	if len(n.pods) == 0 {
		return st.Empty("No pods on "+n.node, "esc goes back", a)
	}
	return n.table.View(st, a, 0, true)
}
