package ui

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// overview shows the cluster at a glance: the control plane, the nodes, rollouts that are not complete and recent warnings.
type overview struct {
	sh       shell
	state    viewState
	nodes    []observe.NodeState
	rollouts []observe.Rollout // those that are not complete
	all      int               // number of rollouts, complete ones included
	warnings []*corev1.Event
	table    kit.Table
}

func newOverview(sh shell) *overview {
	o := &overview{sh: sh}
	o.table.SetCols([]kit.Column{{Title: "", Min: 1}, {Title: "name", Min: 20, Max: 44}, {Title: "progress", Min: 8, Max: 16},
		{Title: "ready", Right: true}, {Title: "status", Min: 24, Grow: true}})
	return o
}

func (o *overview) title() string { return "Overview" }

func (o *overview) keys() []kit.Binding {
	if len(o.rollouts) == 0 {
		return []kit.Binding{o.sh.keys().screens, o.sh.keys().namespace, o.sh.keys().cluster}
	}
	return append([]kit.Binding{o.sh.keys().open}, rolloutKeys(o.sh.keys())...)
}

func (o *overview) setState(v viewState) {
	o.state = v
	o.nodes = observe.Nodes(v.snap, v.now)
	o.rollouts, o.all = nil, 0
	for _, r := range observe.Rollouts(v.snap, v.now) {
		if !v.in(r.Namespace) {
			continue
		}
		o.all++
		if r.Moving() && v.matches(r.Namespace, r.Name, r.Why) {
			o.rollouts = append(o.rollouts, r)
		}
	}
	slices.SortStableFunc(o.rollouts, func(a, b observe.Rollout) int { return cmp.Compare(urgency(&b), urgency(&a)) })
	list := o.rollouts
	o.table.SetRows(len(list), func(i int) string { return list[i].Key() }, func(i int) []kit.Cell {
		r := &list[i]
		return []kit.Cell{dotCell(r.Level), nameCell(v, r.Namespace, r.Name),
			{Draw: func(st *kit.Styles, w int) string { return progressBar(st, r, w) }}, kit.Text(fmt.Sprintf("%d/%d", r.Ready, r.Desired)),
			statusCell(r)}
	})
	o.warnings = o.warnings[:0]
	for i := len(v.snap.Events) - 1; i >= 0 && len(o.warnings) < 100; i-- {
		e := v.snap.Events[i]
		if v.now.Sub(observe.EventTime(e)) > 15*time.Minute {
			break
		}
		if e.Type == corev1.EventTypeWarning && v.in(e.InvolvedObject.Namespace) && v.matches(e.Message, e.Reason, e.InvolvedObject.Name) {
			o.warnings = append(o.warnings, e)
		}
	}
}

func (o *overview) update(msg tea.Msg) tea.Cmd {
	if o.table.Handle(msg, o.sh.keys().MoveKeys) {
		return nil
	}
	if key, ok := msg.(tea.KeyMsg); ok && o.table.Cursor < len(o.rollouts) {
		r := &o.rollouts[o.table.Cursor]
		if o.sh.keys().open.Match(key) {
			return o.sh.push(newRolloutDetail(o.sh, r.Key()))
		}
		return rolloutAction(o.sh, key, r, o.state)
	}
	return nil
}

// overviewLayout is how the area of the overview is divided.
type overviewLayout struct {
	small    bool // no room for frames
	list     int  // height of the list of rollouts if small
	cluster  kit.Area
	nodes    kit.Area
	rollouts kit.Area
	warnings kit.Area
}

func (o *overview) layout(a kit.Area) overviewLayout {
	if a.W < 70 || a.H < 17 {
		return overviewLayout{small: true, list: min(len(o.rollouts)+1, max(2, (a.H-1)*2/3))}
	}
	left := min(56, a.W*45/100)
	if a.W < 100 {
		left = a.W / 2
	}
	componentRows := 3
	if k := o.state.snap.KL; k != nil {
		componentRows = len(k.Components) + 3
	}
	top := max(8, min(max(componentRows, len(o.nodes)+1, 7)+2, a.H/2))
	rest := a.H - top
	list := max(4, min(len(o.rollouts)+3, rest/2))
	if len(o.rollouts) == 0 {
		list = 3
	}
	return overviewLayout{cluster: kit.Area{W: left, H: top}, nodes: kit.Area{W: a.W - left, H: top},
		rollouts: kit.Area{W: a.W, H: list}, warnings: kit.Area{W: a.W, H: rest - list}}
}

func (o *overview) resize(a kit.Area) {
	if l := o.layout(a); l.small {
		o.table.Resize(kit.Area{W: a.W, H: l.list}, 1)
	} else {
		o.table.Resize(l.rollouts.Inner(), l.cluster.H+1)
	}
}

func (o *overview) view(st *kit.Styles, a kit.Area) string {
	l := o.layout(a)
	if l.small {
		return o.small(st, a)
	}
	note := ""
	if o.all > 0 {
		note = fmt.Sprintf("%d of %s complete", o.all-len(o.rollouts), kit.Count(o.all, "rollout"))
	}
	return kit.Beside(
		st.Panel("Cluster", o.uptime(), o.cluster(st, l.cluster.Inner()), l.cluster, false),
		st.Panel("Nodes", o.nodeNote(), o.nodeBars(st, l.nodes.Inner()), l.nodes, false)) + "\n" +
		st.Panel("Not complete", note, o.incomplete(st, l.rollouts.Inner()), l.rollouts, len(o.rollouts) > 0) + "\n" +
		st.Panel("Warnings", "last 15 minutes", o.warned(st, l.warnings.Inner()), l.warnings, false)
}

// small is the overview for windows without room for frames: a line each for what matters most.
func (o *overview) small(st *kit.Styles, a kit.Area) string {
	ready := 0
	for i := range o.nodes {
		if o.nodes[i].Level == observe.Good {
			ready++
		}
	}
	level, word := health(o.state.snap)
	lines := []string{
		" " + st.Dot(levelOf(level)) + " " + st.Text.Render(word) + st.Dim.Render(fmt.Sprintf(" · %d/%d nodes · %s", ready, len(o.nodes), kit.Count(len(o.state.snap.Pods), "pod"))),
	}
	if len(o.rollouts) > 0 {
		lines = append(lines, strings.Split(o.table.View(st, true), "\n")...)
	} else if o.state.snap.Has("deployments") {
		lines = append(lines, " "+st.Dot(kit.Good)+" "+st.Dim.Render(fmt.Sprintf("all %s complete", kit.Count(o.all, "rollout"))))
	}
	for _, e := range o.warnings[:min(len(o.warnings), max(0, a.H-len(lines)))] {
		lines = append(lines, " "+eventLine(st, e, o.state.now, a.W-1, true))
	}
	return kit.Block(strings.Join(lines, "\n"), a)
}

func (o *overview) uptime() string {
	if k := o.state.snap.KL; k != nil && !k.Started.IsZero() {
		return "up " + observe.Span(o.state.now.Sub(k.Started))
	}
	return ""
}

func (o *overview) nodeNote() string {
	if len(o.nodes) == 0 {
		return ""
	}
	if u := o.state.snap.Usage; u != nil && u.Err == "" {
		return "cpu · memory · pods"
	}
	return "requested"
}

// cluster is the content of the panel about the control plane.
func (o *overview) cluster(st *kit.Styles, a kit.Area) string {
	s := o.state.snap
	var lines []string
	if s.KL != nil {
		lines = append(lines, o.components(st, kit.Area{W: a.W, H: a.H - 3})...) // three lines of facts follow
	} else {
		if s.Version == "" {
			return st.Skeleton("connecting to "+kit.Clean(s.Server), o.state.frame, a)
		}
		lines = append(lines, field(st, "server", kit.Clean(s.Server)), field(st, "version", kit.Clean(s.Version)))
	}
	facts := []string{field(st, "objects", fmt.Sprintf("%s · %s", kit.Count(len(s.Pods), "pod"), kit.Count(len(s.Namespaces), "namespace")))}
	if s.KL == nil {
		facts = append(facts, st.Dim.Render("component states, audit log and certificates"), st.Dim.Render("are known for kl's own clusters"))
	}
	if d := s.Disk; d != nil {
		facts = append(facts, o.safety(st, d)...)
	}
	return strings.Join(append(lines, facts...), "\n")
}

func field(st *kit.Styles, name, value string) string {
	return st.Dim.Render(kit.Fit(name, 9)) + st.Text.Render(value)
}

// components draws when each component of the control plane started and became ready, on one scale.
func (o *overview) components(st *kit.Styles, a kit.Area) []string {
	k := o.state.snap.KL
	longest := 0.001
	name := 10
	for _, c := range k.Components {
		longest = max(longest, c.Ready, c.Began)
		name = max(name, kit.Width(shortComponent(string(c.Name))))
	}
	name = min(name, 20)
	var lines []string
	if k.Phase != cluster.PhaseReady {
		lines = append(lines, st.Warn.Render(string(k.Phase))+" "+st.Dim.Render(kit.Clean(k.Reason)))
	}
	bar := max(4, a.W-name-10)
	shown, hidden := visibleComponents(k.Components, a.H-len(lines))
	for _, c := range shown {
		level := observe.Good
		switch c.State {
		case cluster.ComponentWaiting, cluster.ComponentStarting:
			level = observe.Busy
		case cluster.ComponentRestarting:
			level = observe.Warn
		case cluster.ComponentFailed:
			level = observe.Bad
		case cluster.ComponentStopped:
			level = observe.Idle
		}
		l := st.Dot(levelOf(level)) + " " + st.Text.Render(kit.Fit(shortComponent(string(c.Name)), name)) + " "
		if c.Error != "" {
			lines = append(lines, l+st.Bad.Render(kit.Clean(c.Error)))
			continue
		}
		from := min(bar-1, int(c.Began/longest*float64(bar)))
		to := max(from+1, min(bar, int(c.Ready/longest*float64(bar))))
		when := ""
		if c.Ready > 0 {
			when = fmt.Sprintf("%.2fs", c.Ready)
		}
		lines = append(lines, l+st.Faint.Render(strings.Repeat("·", from))+st.Accent.Render(strings.Repeat("━", to-from))+
			st.Faint.Render(strings.Repeat("·", bar-to))+st.Dim.Render(kit.FitRight(when, 7)))
	}
	if hidden > 0 {
		lines = append(lines, st.Dim.Render(fmt.Sprintf("… and %d more without trouble", hidden)))
	}
	return lines
}

// visibleComponents chooses which components to show if there is no room for all. It leaves out healthy and stopped ones,
// those that started fastest first and the well-known ones of Kubernetes last.
func visibleComponents(all []cluster.ComponentStatus, room int) (shown []cluster.ComponentStatus, hidden int) {
	shown = slices.Clone(all)
	worth := func(c cluster.ComponentStatus) float64 {
		if c.Name == cluster.Etcd || strings.HasPrefix(string(c.Name), "kube-") {
			return math.MaxFloat64
		}
		return c.Ready - c.Began
	}
	for len(shown) > max(1, room-1) && len(all) > room {
		least := -1
		for i, c := range shown {
			if (c.State == cluster.ComponentServing || c.State == cluster.ComponentStopped) && (least < 0 || worth(c) < worth(shown[least])) {
				least = i
			}
		}
		if least < 0 {
			break // none of them is healthy
		}
		shown = slices.Delete(shown, least, least+1)
	}
	return shown, len(all) - len(shown)
}

func shortComponent(s string) string {
	s = strings.TrimPrefix(s, "kube-")
	return strings.Replace(s, "controller-manager", "controllers", 1)
}

// safety says whether Secrets are encrypted, whether audit is on and when the first certificate expires.
func (o *overview) safety(st *kit.Styles, d *observe.Disk) []string {
	on := func(b bool) string {
		if b {
			return st.Good.Render("on")
		}
		return st.Dim.Render("off")
	}
	lines := []string{st.Dim.Render("audit ") + on(d.AuditLog != ""), secretsLine(st, d.Secrets)}
	if len(d.Certificates) > 0 {
		c := d.Certificates[0]
		left := c.Expires.Sub(o.state.now)
		style := st.Dim
		switch {
		case left < 0:
			lines[0] += st.Bad.Render(" · " + c.Name + " certificate expired")
			return lines
		case left < 7*24*time.Hour:
			style = st.Bad
		case left < 30*24*time.Hour:
			style = st.Warn
		}
		lines[0] += st.Dim.Render(" · certs ") + style.Render(observe.Span(left))
	}
	return lines
}

// secretsLine says how Secrets are stored in etcd.
func secretsLine(st *kit.Styles, s observe.Secrets) string {
	switch {
	case s.Plain > 0 && s.Provider != cluster.EncryptionNone:
		return st.Warn.Render(fmt.Sprintf("%d of %d Secrets are not encrypted", s.Plain, s.Objects))
	case s.Provider == "" || s.Provider == cluster.EncryptionNone:
		return st.Dim.Render("Secrets not encrypted")
	}
	return st.Dim.Render("Secrets ") + st.Good.Render("encrypted") + st.Dim.Render(" ("+kit.Clean(string(s.Provider))+")")
}

func (o *overview) nodeBars(st *kit.Styles, a kit.Area) string {
	if len(o.nodes) == 0 {
		if !o.state.snap.Has("nodes") {
			return st.Skeleton("loading nodes", o.state.frame, a)
		}
		return st.Dim.Render("no nodes")
	}
	name := 4
	for i := range o.nodes {
		name = max(name, min(18, kit.Width(kit.Clean(o.nodes[i].Name))))
	}
	var lines []string
	bar := max(0, (a.W-name-3-7-4)/2)
	for i := range o.nodes {
		n := &o.nodes[i]
		if len(lines) == a.H-1 && i < len(o.nodes)-1 {
			lines = append(lines, st.Dim.Render(fmt.Sprintf("… and %d more (6)", len(o.nodes)-i)))
			break
		}
		head := st.Dot(levelOf(n.Level)) + " " + st.Text.Render(kit.Fit(kit.Clean(n.Name), name)) + " "
		if n.Level == observe.Bad {
			lines = append(lines, head+st.Bad.Render(n.Text)+" "+st.Dim.Render(kit.Clean(n.Why)))
			continue
		}
		lines = append(lines, head+meter(st, n.MilliCPUUsed, n.MilliCPURequested, n.MilliCPU, n.Measured, kit.CPU, bar)+"  "+
			meter(st, n.MemoryUsed, n.MemoryRequested, n.Memory, n.Measured, kit.Bytes, bar)+" "+st.Dim.Render(kit.FitRight(fmt.Sprintf("%d/%d", n.Pods, n.PodLimit), 7)))
	}
	return strings.Join(lines, "\n")
}

// incomplete is the list of rollouts that are not complete, or why it is empty.
func (o *overview) incomplete(st *kit.Styles, a kit.Area) string {
	switch {
	case len(o.rollouts) > 0:
		return o.table.View(st, true)
	case !o.state.snap.Has("deployments"):
		return st.Skeleton("loading rollouts", o.state.frame, a)
	case o.all == 0:
		return st.Dim.Render("nothing is deployed yet")
	}
	return st.Good.Render("✓") + st.Dim.Render(" every rollout is complete")
}

func (o *overview) warned(st *kit.Styles, a kit.Area) string {
	if len(o.warnings) == 0 {
		if !o.state.snap.Has("events") {
			return st.Skeleton("loading events", o.state.frame, a)
		}
		return st.Good.Render("✓") + st.Dim.Render(" no warnings")
	}
	return eventLines(st, o.warnings, o.state.now, a, true)
}
