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
)

// nodes lists nodes with how full they are; below, the chosen one in detail. Where the cluster is kl's, its verbs are
// here.
type nodes struct {
	m     *Model
	w     *world
	list  []observe.NodeState
	table table
}

func newNodes(m *Model) *nodes {
	n := &nodes{m: m}
	n.table.setCols([]column{
		{title: "", min: 1}, {title: "name", min: 6, max: 40, grow: true}, {title: "status", min: 5, max: 30}, {title: "cpu", min: 10, max: 26},
		{title: "memory", min: 10, max: 26}, {title: "pods", right: true}, {title: "roles", drop: 4, max: 20},
		{title: "kubelet", drop: 3}, {title: "ip", drop: 2}, {title: "age", right: true, drop: 1},
	})
	return n
}

func (n *nodes) title() string { return "Nodes" }

func (n *nodes) keys() []binding {
	k := n.m.k
	keys := []binding{k.open, k.describe, k.yaml, k.events, k.cordon}
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
	n.table.setRows(len(list), func(i int) string { return list[i].Name }, func(i int) []cell {
		s := &list[i]
		return []cell{
			{draw: func(st *styles, _ int) string { return st.dot(s.Level) }}, txt(s.Name),
			{text: s.Text, draw: func(st *styles, w int) string { return cut(st.level(s.Level).Render(s.Text), w) }},
			{draw: func(st *styles, w int) string {
				return meter(st, s.MilliCPUUsed, s.MilliCPURequested, s.MilliCPU, s.Measured, cpu, w)
			}},
			{draw: func(st *styles, w int) string {
				return meter(st, s.MemoryUsed, s.MemoryRequested, s.Memory, s.Measured, mem, w)
			}},
			txt(fmt.Sprintf("%d/%d", s.Pods, s.PodLimit)), soft(s.Roles), soft(s.Kubelet), soft(address(s.Node)),
			soft(observe.Span(w.now.Sub(s.Created))),
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
func meter(st *styles, used, requested, whole int64, measured bool, unit func(int64) string, w int) string {
	v := used
	if !measured {
		v = requested
	}
	if whole <= 0 {
		return st.dim.Render(fit("–", w))
	}
	label := fitRight(unit(v), 5)
	if w < 12 {
		return st.load(float64(v) / float64(whole)).Render(fitRight(percent(v, whole), 4))
	}
	return st.gauge(float64(v)/float64(whole), w-6) + st.text.Render(" "+label)
}

func nodeResource() observe.Resource {
	return observe.Resource{GVR: schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, Kind: "Node"}
}

func (n *nodes) update(msg tea.Msg) tea.Cmd {
	if n.table.handle(msg, n.m.k) {
		return nil
	}
	key, ok := msg.(tea.KeyMsg)
	if !ok || n.table.cursor >= len(n.list) || n.m.session == nil {
		return nil
	}
	k, s := n.m.k, n.list[n.table.cursor]
	switch {
	case k.open.match(key):
		return n.m.push(newNodePods(n.m, s.Name))
	case k.describe.match(key), k.yaml.match(key):
		return n.m.inspect(key, nodeResource(), "Node", "", s.Name)
	case k.events.match(key):
		return n.m.inspect(key, nodeResource(), "Node", "", s.Name)
	case k.cordon.match(key):
		return n.confirmCordon(s)
	case n.m.ours() && k.shell.match(key) && n.m.opts.NodeShell != nil:
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
	return n.m.ask(&confirm{title: strings.ToUpper(verb[:1]) + verb[1:] + " " + s.Name, verb: verb, lines: []string{what},
		then: sess.do(verb+"ed "+s.Name, func(ctx context.Context) error { return sess.act.Cordon(ctx, s.Name, on) })})
}

// verb asks and then runs one of kl's own verbs on a node.
func (n *nodes) verb(key tea.KeyMsg, node string) tea.Cmd {
	k := n.m.k
	verbs := []struct {
		key        binding
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
		if !v.key.match(key) {
			continue
		}
		sess, do := n.m.session, n.m.opts.NodeVerb
		return n.m.ask(&confirm{title: strings.ToUpper(v.verb[:1]) + v.verb[1:] + " node " + node, verb: v.verb, grave: v.grave, lines: []string{v.what},
			then: tea.Sequence(toast(observe.Busy, "%s %s …", v.verb, node),
				sess.do(v.verb+" "+node+": done", func(ctx context.Context) error { return do(ctx, sess.target, node, v.verb) }))})
	}
	return nil
}

func (n *nodes) view(st *styles, a area) string {
	switch {
	case len(n.list) == 0 && !n.w.snap.Has("nodes"):
		return st.skeleton("loading nodes", n.w.frame, a)
	case len(n.list) == 0 && n.w.filter != "":
		return st.empty("No node matches /"+clean(n.w.filter), "esc clears the filter", a)
	case len(n.list) == 0:
		return st.empty("No nodes", "kl node add makes one", a)
	}
	detail := 9
	if a.h < 18 || a.w < 50 {
		return n.table.view(st, a, 0, true)
	}
	top := n.table.view(st, area{a.w, a.h - detail}, 0, true)
	s := &n.list[min(n.table.cursor, len(n.list)-1)]
	note := s.Kubelet
	if s.KL && !s.Connected {
		note = "tunnel down · " + note
	}
	return top + "\n" + st.panel(s.Name, note, n.detail(st, s, area{a.w - 4, detail - 2}), area{a.w, detail}, false)
}

func (n *nodes) detail(st *styles, s *observe.NodeState, a area) string {
	var lines []string
	state := st.dot(s.Level) + " " + st.level(s.Level).Render(s.Text)
	if s.Why != "" {
		state += "  " + st.dim.Render(clean(s.Why))
	}
	lines = append(lines, state)
	half := a.w/2 - 2
	row := func(name string, used, req, whole int64, unit func(int64) string, series []float64, top float64) string {
		if !s.Measured {
			used = -1
		}
		text := fmt.Sprintf("%-7s %6s used  %6s requested  %6s", name, unit(used), unit(req), unit(whole))
		return st.text.Render(fit(text, max(half, 46))) + "  " + st.accent.Render(spark(series, top, max(0, min(60, a.w-max(half, 46)-2))))
	}
	c, m := seriesOf(n.w.snap.Usage.Node(s.Name))
	lines = append(lines, row("CPU", s.MilliCPUUsed, s.MilliCPURequested, s.MilliCPU, cpu, c, float64(s.MilliCPU)),
		row("memory", s.MemoryUsed, s.MemoryRequested, s.Memory, mem, m, float64(s.Memory)))
	var conds []string
	for _, c := range s.Node.Status.Conditions {
		level := observe.Good
		if (c.Type == corev1.NodeReady) != (c.Status == corev1.ConditionTrue) {
			level = observe.Bad
		}
		conds = append(conds, st.dot(level)+" "+st.dim.Render(string(c.Type)))
	}
	lines = append(lines, strings.Join(conds, "   "))
	var taints []string
	for _, t := range s.Node.Spec.Taints {
		taints = append(taints, t.ToString())
	}
	if len(taints) > 0 {
		lines = append(lines, st.dim.Render("taints  ")+st.text.Render(clean(strings.Join(taints, "  "))))
	}
	info := s.Node.Status.NodeInfo
	lines = append(lines, st.dim.Render(clean(strings.Join([]string{info.OSImage, "kernel " + info.KernelVersion, info.ContainerRuntimeVersion, info.Architecture}, " · "))))
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
	table table
}

func newNodePods(m *Model, node string) *nodePods {
	n := &nodePods{m: m, node: node}
	n.table.setCols([]column{{title: "", min: 1}, {title: "namespace", drop: 3, max: 20}, {title: "name", min: 14, max: 52}, {title: "status", min: 10, grow: true},
		{title: "restarts", right: true, drop: 2}, {title: "cpu", right: true, min: 5}, {title: "mem", right: true, min: 5}, {title: "age", right: true, drop: 1}})
	return n
}

func (n *nodePods) title() string   { return n.node }
func (n *nodePods) keys() []binding { return n.m.podKeys() }

func (n *nodePods) set(w *world) {
	n.w, n.pods = w, n.pods[:0]
	for _, p := range w.snap.PodsOn(n.node) {
		if w.in(p.Namespace) && w.matches(p.Namespace, p.Name) {
			n.pods = append(n.pods, p)
		}
	}
	pods := n.pods
	n.table.setRows(len(pods), func(i int) string { return pods[i].Namespace + "/" + pods[i].Name }, func(i int) []cell {
		p := pods[i]
		s := observe.PodStateOf(p, w.now)
		c, m := "", ""
		if last, ok := w.snap.Usage.Pod(p.Namespace, p.Name).Last(); ok {
			c, m = cpu(int64(last.MilliCPU)), mem(last.Bytes())
		}
		return []cell{{draw: func(st *styles, _ int) string { return st.dot(s.Level) }}, soft(p.Namespace), txt(p.Name),
			podCell(s), soft(strconv.Itoa(s.Restarts)),
			txt(c), txt(m), soft(observe.Span(w.now.Sub(p.CreationTimestamp.Time)))}
	})
}

func (n *nodePods) update(msg tea.Msg) tea.Cmd {
	if n.table.handle(msg, n.m.k) {
		return nil
	}
	if key, ok := msg.(tea.KeyMsg); ok && n.table.cursor < len(n.pods) {
		return n.m.podAction(key, n.pods[n.table.cursor])
	}
	return nil
}

func (n *nodePods) view(st *styles, a area) string {
	if len(n.pods) == 0 {
		return st.empty("No pods on "+n.node, "esc goes back", a)
	}
	return n.table.view(st, a, 0, true)
}
