package ui

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// nodes lists the nodes and how full they are, with details of the selected one below. In a cluster of kl there are keys
// for the verbs of 'kl node'.
type nodes struct {
	sh    shell
	state viewState
	verb  func(ctx context.Context, t observe.Target, node, verb string) error // nil if there are no verbs
	shell func(ctx context.Context, t observe.Target, node string) *exec.Cmd   // nil if there is none
	list  []observe.NodeState
	table kit.Table
}

func newNodes(sh shell, verb func(context.Context, observe.Target, string, string) error, shell func(context.Context, observe.Target, string) *exec.Cmd) *nodes {
	n := &nodes{sh: sh, verb: verb, shell: shell}
	n.table.SetCols([]kit.Column{
		{Title: "", Min: 1}, {Title: "name", Min: 6, Max: 40, Grow: true}, {Title: "status", Min: 5, Max: 30}, {Title: "cpu", Min: 10, Max: 26},
		{Title: "memory", Min: 10, Max: 26}, {Title: "pods", Right: true}, {Title: "roles", Drop: 4, Max: 20},
		{Title: "kubelet", Drop: 3}, {Title: "ip", Drop: 2}, {Title: "age", Right: true, Drop: 1},
	})
	return n
}

func (n *nodes) title() string { return "Nodes" }

func (n *nodes) keys() []kit.Binding {
	k := n.sh.keys()
	keys := []kit.Binding{k.open, k.describe, k.yaml, k.events, k.cordon}
	if n.hasVerbs() {
		keys = append(keys, k.shell, k.stop, k.start, k.kill, k.cut, k.heal)
	}
	return keys
}

// hasVerbs reports whether the cluster is one of kl's on this machine, whose nodes can be stopped, started and so on.
func (n *nodes) hasVerbs() bool {
	s := n.sh.session()
	return s != nil && s.target.Layout != nil && n.verb != nil
}

func (n *nodes) setState(v viewState) {
	n.state = v
	n.list = nil // the table draws the old list until SetRows
	for _, s := range observe.Nodes(v.snap, v.now) {
		if v.matches(s.Name, s.Text, s.Roles, s.Why, s.Kubelet) {
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
			kit.Dim(observe.Span(v.now.Sub(s.Created))),
		}
	})
}

// address is the internal IP address of a node.
func address(n *corev1.Node) string {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address
		}
	}
	return ""
}

// meter draws how much of a capacity is used, or requested if there are no metrics, as a gauge with the amount.
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
	k := n.sh.keys()
	if n.table.Handle(msg, k.MoveKeys) {
		return nil
	}
	key, ok := msg.(tea.KeyMsg)
	if !ok || n.table.Cursor >= len(n.list) || n.sh.session() == nil {
		return nil
	}
	s := n.list[n.table.Cursor]
	switch {
	case k.open.Match(key):
		return n.sh.push(newNodePods(n.sh, s.Name))
	case k.cordon.Match(key):
		return n.confirmCordon(s)
	case n.hasVerbs() && k.shell.Match(key) && n.shell != nil:
		sess := n.sh.session()
		return sess.run(func(ctx context.Context) tea.Msg { return localMsg{n.shell(ctx, sess.target, s.Name)} })
	}
	if cmd := inspectKey(n.sh, key, object{nodeResource(), "", s.Name}); cmd != nil {
		return cmd
	}
	if n.hasVerbs() {
		return n.confirmVerb(key, s.Name)
	}
	return nil
}

// confirmCordon asks, and then cordons or uncordons a node.
func (n *nodes) confirmCordon(s observe.NodeState) tea.Cmd {
	sess, on := n.sh.session(), !s.Node.Spec.Unschedulable
	verb, what := "cordon", "No new pods are scheduled on the node. The pods it has stay."
	if !on {
		verb, what = "uncordon", "New pods are scheduled on the node again."
	}
	return n.sh.ask(&kit.Confirm{Title: strings.ToUpper(verb[:1]) + verb[1:] + " " + s.Name, Verb: verb, Lines: []string{what},
		Then: sess.do(verb+"ed "+s.Name, func(ctx context.Context) error { return sess.act.Cordon(ctx, s.Name, on) })})
}

// nodeVerb is a verb of 'kl node' that has a key.
type nodeVerb struct {
	key     kit.Binding
	verb    string
	effect  string
	harmful bool
}

func (n *nodes) verbs() []nodeVerb {
	k := n.sh.keys()
	return []nodeVerb{
		{k.stop, "stop", "The node is shut down. Its pods move to other nodes after a while.", true},
		{k.start, "start", "The node starts again with its data and its address.", false},
		{k.kill, "kill", "The node is killed at once, as in a power failure.", true},
		{k.cut, "partition", "The node is cut off from the control plane and from the other nodes.", true},
		{k.heal, "heal", "The node can reach the control plane and the other nodes again.", false},
	}
}

// confirmVerb asks, and then runs the verb that a key stands for on a node. It does nothing for other keys.
func (n *nodes) confirmVerb(key tea.KeyMsg, node string) tea.Cmd {
	for _, v := range n.verbs() {
		if !v.key.Match(key) {
			continue
		}
		sess, do := n.sh.session(), n.verb
		return n.sh.ask(&kit.Confirm{Title: strings.ToUpper(v.verb[:1]) + v.verb[1:] + " node " + node, Verb: v.verb, Grave: v.harmful, Lines: []string{v.effect},
			Then: tea.Sequence(toast(observe.Busy, "%s %s …", v.verb, node),
				sess.do(v.verb+" "+node+": done", func(ctx context.Context) error { return do(ctx, sess.target, node, v.verb) }))})
	}
	return nil
}

const nodeDetailHeight = 9

// hasDetail reports whether there is room for the details of the selected node.
func (n *nodes) hasDetail(a kit.Area) bool { return a.H >= 18 && a.W >= 50 }

func (n *nodes) resize(a kit.Area) {
	if n.hasDetail(a) {
		a.H -= nodeDetailHeight
	}
	n.table.Resize(a, 0)
}

func (n *nodes) view(st *kit.Styles, a kit.Area) string {
	switch {
	case len(n.list) == 0 && !n.state.snap.Has("nodes"):
		return st.Skeleton("loading nodes", n.state.frame, a)
	case len(n.list) == 0 && n.state.filter != "":
		return st.Empty("No node matches /"+kit.Clean(n.state.filter), "esc clears the filter", a)
	case len(n.list) == 0:
		if what, hint := n.state.refused("nodes"); what != "" {
			return st.Empty(what, hint, a)
		}
		return st.Empty("No nodes", "kl node add makes one", a)
	}
	list := n.table.View(st, true)
	if !n.hasDetail(a) {
		return list
	}
	s := &n.list[min(n.table.Cursor, len(n.list)-1)]
	note := s.Kubelet
	if s.KL && !s.Connected {
		note = "tunnel down · " + note
	}
	frame := kit.Area{W: a.W, H: nodeDetailHeight}
	return list + "\n" + st.Panel(s.Name, note, n.detail(st, s, frame.Inner()), frame, false)
}

// detail describes a node in a few lines: state, use, conditions, taints and system.
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
	c, m := seriesOf(n.state.snap.Usage.Node(s.Name))
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
	sh    shell
	state viewState
	node  string
	pods  []*corev1.Pod
	table kit.Table
}

func newNodePods(sh shell, node string) *nodePods {
	n := &nodePods{sh: sh, node: node}
	n.table.SetCols([]kit.Column{{Title: "", Min: 1}, {Title: "namespace", Drop: 3, Max: 20}, {Title: "name", Min: 14, Max: 52}, {Title: "status", Min: 10, Grow: true},
		{Title: "restarts", Right: true, Drop: 2}, {Title: "cpu", Right: true, Min: 5}, {Title: "mem", Right: true, Min: 5}, {Title: "age", Right: true, Drop: 1}})
	return n
}

func (n *nodePods) title() string       { return n.node }
func (n *nodePods) keys() []kit.Binding { return podKeys(n.sh.keys()) }

func (n *nodePods) setState(v viewState) {
	n.state, n.pods = v, nil
	for _, p := range v.snap.PodsOn(n.node) {
		if v.in(p.Namespace) && v.matches(p.Namespace, p.Name) {
			n.pods = append(n.pods, p)
		}
	}
	pods := n.pods
	n.table.SetRows(len(pods), func(i int) string { return pods[i].Namespace + "/" + pods[i].Name }, func(i int) []kit.Cell {
		p := pods[i]
		s := observe.PodStateOf(p, v.now)
		c, m := "", ""
		if last, ok := v.snap.Usage.Pod(p.Namespace, p.Name).Last(); ok {
			c, m = kit.CPU(int64(last.MilliCPU)), kit.Bytes(last.Bytes())
		}
		return []kit.Cell{dotCell(s.Level), kit.Dim(p.Namespace), kit.Text(p.Name),
			podCell(s), kit.Dim(strconv.Itoa(s.Restarts)),
			kit.Text(c), kit.Text(m), kit.Dim(observe.Span(v.now.Sub(p.CreationTimestamp.Time)))}
	})
}

func (n *nodePods) update(msg tea.Msg) tea.Cmd {
	if n.table.Handle(msg, n.sh.keys().MoveKeys) {
		return nil
	}
	if key, ok := msg.(tea.KeyMsg); ok && n.table.Cursor < len(n.pods) {
		return podAction(n.sh, key, n.pods[n.table.Cursor])
	}
	return nil
}

func (n *nodePods) resize(a kit.Area) { n.table.Resize(a, 0) }

func (n *nodePods) view(st *kit.Styles, a kit.Area) string {
	if len(n.pods) == 0 {
		return st.Empty("No pods on "+n.node, "esc goes back", a)
	}
	return n.table.View(st, true)
}
