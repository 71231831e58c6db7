package ui

import (
	"fmt"
	"strconv"
	"strings"

	tea "github.com/charmbracelet/bubbletea"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// rolloutDetail shows one rollout: its revisions, its pods by revision, and its events.
type rolloutDetail struct {
	sh        shell
	state     viewState
	key       string           // namespace/name
	rollout   *observe.Rollout // nil if it no longer exists
	width     int              // of the area
	revisions []observe.Revision
	pods      []podLine
	revTable  kit.Table
	podTable  kit.Table
	onPods    bool // the pods have the focus, not the revisions
}

// podLine is a pod, or the heading above the pods of a revision.
type podLine struct {
	rev *observe.Revision // heading
	pod *corev1.Pod
}

func newRolloutDetail(sh shell, key string) *rolloutDetail {
	d := &rolloutDetail{sh: sh, key: key}
	d.revTable.SetCols([]kit.Column{{Title: "rev", Right: true}, {Title: "", Min: 1}, {Title: "pods", Right: true},
		{Title: "images", Min: 10, Grow: true}, {Title: "cause", Min: 8, Max: 40, Drop: 2}, {Title: "age", Right: true, Drop: 1}})
	d.podTable.SetCols([]kit.Column{{Title: "", Min: 1}, {Title: "pod", Min: 12, Max: 48}, {Title: "status", Min: 8, Grow: true},
		{Title: "restarts", Right: true, Drop: 3}, {Title: "node", Drop: 1, Max: 20}, {Title: "age", Right: true, Drop: 2}})
	return d
}

func (d *rolloutDetail) title() string {
	_, name, _ := strings.Cut(d.key, "/")
	return name
}

func (d *rolloutDetail) keys() []kit.Binding {
	k := d.sh.keys()
	if d.onPods {
		return append([]kit.Binding{k.toRevisions}, podKeys(k)...)
	}
	return append([]kit.Binding{k.toPods, k.diff}, rolloutKeys(k)...)
}

func (d *rolloutDetail) setState(v viewState) {
	d.state, d.rollout = v, nil
	for _, r := range observe.Rollouts(v.snap, v.now) {
		if r.Key() == d.key {
			d.rollout = &r
		}
	}
	if d.rollout == nil {
		return
	}
	d.revisions = observe.Revisions(v.snap, d.rollout)
	revs := d.revisions
	d.revTable.SetRows(len(revs), func(i int) string { return revs[i].Name }, func(i int) []kit.Cell { return revisionRow(&revs[i], v) })
	d.pods = d.pods[:0]
	for i := range revs {
		if len(revs[i].Pods) == 0 && !revs[i].Current {
			continue
		}
		d.pods = append(d.pods, podLine{rev: &revs[i]})
		for _, p := range revs[i].Pods {
			if v.matches(p.Name, p.Spec.NodeName) {
				d.pods = append(d.pods, podLine{pod: p})
			}
		}
	}
	lines := d.pods
	d.podTable.SetRows(len(lines), func(i int) string {
		if lines[i].pod != nil {
			return lines[i].pod.Name
		}
		return "rev/" + lines[i].rev.Name
	}, func(i int) []kit.Cell { return podLineRow(lines[i], v) })
}

func revisionRow(r *observe.Revision, v viewState) []kit.Cell {
	mark := kit.Cell{Draw: func(st *kit.Styles, _ int) string { return st.Text.Render(" ") }}
	if r.Current {
		mark = kit.Cell{Draw: func(st *kit.Styles, _ int) string { return st.Good.Render("●") }}
	}
	return []kit.Cell{kit.Text(strconv.FormatInt(r.Number, 10)), mark, kit.Text(strconv.Itoa(len(r.Pods))),
		kit.Text(strings.Join(observe.Images(r.Template), " ")), kit.Dim(r.Cause), kit.Dim(observe.Span(v.now.Sub(r.Created)))}
}

func podLineRow(l podLine, v viewState) []kit.Cell {
	if l.rev != nil {
		name := fmt.Sprintf("revision %d", l.rev.Number)
		note := kit.Count(len(l.rev.Pods), "pod")
		if l.rev.Current {
			note += ", newest"
		}
		return []kit.Cell{{Draw: func(st *kit.Styles, _ int) string { return st.Accent.Render("▾") }},
			{Draw: func(st *kit.Styles, w int) string { return kit.Fit(st.Title.Render(name), w) }}, kit.Dim(note)}
	}
	p := l.pod
	s := observe.PodStateOf(p, v.now)
	return []kit.Cell{dotCell(s.Level), kit.Text(p.Name),
		podCell(s),
		kit.Dim(strconv.Itoa(s.Restarts)), kit.Dim(p.Spec.NodeName), kit.Dim(observe.Span(v.now.Sub(p.CreationTimestamp.Time)))}
}

func (d *rolloutDetail) update(msg tea.Msg) tea.Cmd {
	if d.rollout == nil {
		return nil
	}
	key, ok := msg.(tea.KeyMsg)
	k := d.sh.keys()
	switch {
	case ok && k.toRevisions.Match(key):
		d.onPods = false
		return nil
	case ok && !d.onPods && k.toPods.Match(key):
		d.onPods = true
		return nil
	}
	if mouse, ok := msg.(tea.MouseMsg); ok {
		d.onPods = d.podsAt(mouse)
	}
	if d.onPods {
		return d.updatePods(msg)
	}
	return d.updateRevisions(msg)
}

// podsAt reports whether the mouse points at the pods.
func (d *rolloutDetail) podsAt(mouse tea.MouseMsg) bool {
	below := d.podTable.Top() > d.revTable.Top() // else the lists are side by side
	return mouse.Y > d.podTable.Top() && (below || mouse.X > d.width*2/5)
}

func (d *rolloutDetail) updatePods(msg tea.Msg) tea.Cmd {
	key, ok := msg.(tea.KeyMsg)
	if d.podTable.Handle(msg, d.sh.keys().MoveKeys) || !ok || d.podTable.Cursor >= len(d.pods) {
		return nil
	}
	if p := d.pods[d.podTable.Cursor].pod; p != nil {
		return podAction(d.sh, key, p)
	}
	return nil
}

func (d *rolloutDetail) updateRevisions(msg tea.Msg) tea.Cmd {
	key, ok := msg.(tea.KeyMsg)
	k := d.sh.keys()
	if d.revTable.Handle(msg, k.MoveKeys) || !ok {
		return nil
	}
	rev := d.revision()
	switch {
	case rev != nil && k.diff.Match(key):
		return d.sh.push(newDiffView(d.sh, d.key, rev.Number))
	case rev != nil && k.undo.Match(key):
		if rev.Current { // the cursor has not been moved: undo to the revision before
			rev = previousRevision(d.revisions)
		}
		return confirmUndo(d.sh, d.rollout, refOf(d.rollout), rev)
	}
	return rolloutAction(d.sh, key, d.rollout, d.state)
}

// revision is the selected revision.
func (d *rolloutDetail) revision() *observe.Revision {
	if d.revTable.Cursor < len(d.revisions) {
		return &d.revisions[d.revTable.Cursor]
	}
	return nil
}

// detailLayout is how the area of a rolloutDetail is divided.
type detailLayout struct {
	small     bool // no room for frames: one list only
	beside    bool // revisions and pods side by side
	revisions kit.Area
	pods      kit.Area
	podsTop   int // line of the pods' frame
	events    kit.Area
}

const summaryHeight = 5

func (d *rolloutDetail) layout(a kit.Area) detailLayout {
	l := detailLayout{small: a.H < 12 || a.W < 50, beside: a.W >= 110, podsTop: summaryHeight}
	rest := a.H - summaryHeight
	l.events = kit.Area{W: a.W, H: min(9, max(4, rest/4))}
	lists := rest - l.events.H
	if l.beside {
		left := a.W * 2 / 5
		l.revisions, l.pods = kit.Area{W: left, H: lists}, kit.Area{W: a.W - left, H: lists}
		return l
	}
	h := min(len(d.revisions)+3, max(4, lists/2))
	l.revisions, l.pods = kit.Area{W: a.W, H: h}, kit.Area{W: a.W, H: lists - h}
	l.podsTop += h
	return l
}

func (d *rolloutDetail) resize(a kit.Area) {
	d.width = a.W
	l := d.layout(a)
	if l.small {
		d.focused().Resize(kit.Area{W: a.W, H: a.H - 2}, 2)
		return
	}
	d.revTable.Resize(l.revisions.Inner(), summaryHeight+1)
	d.podTable.Resize(l.pods.Inner(), l.podsTop+1)
}

// focused is the list that has the focus.
func (d *rolloutDetail) focused() *kit.Table {
	if d.onPods {
		return &d.podTable
	}
	return &d.revTable
}

func (d *rolloutDetail) view(st *kit.Styles, a kit.Area) string {
	if d.rollout == nil {
		return st.Empty(kit.Clean(d.key)+" no longer exists", "esc goes back", a)
	}
	l := d.layout(a)
	if l.small {
		head := kit.Fit(" "+st.Dot(levelOf(d.rollout.Level))+" "+statusText(st, d.rollout), a.W) + "\n" + kit.Fit(" "+progressBar(st, d.rollout, a.W-2), a.W)
		return head + "\n" + d.focused().View(st, true)
	}
	revisions := st.Panel("Revisions", "v compares", d.revTable.View(st, !d.onPods), l.revisions, !d.onPods)
	pods := st.Panel("Pods", "", d.podTable.View(st, d.onPods), l.pods, d.onPods)
	lists := revisions + "\n" + pods
	if l.beside {
		lists = kit.Beside(revisions, pods)
	}
	return d.summary(st, kit.Area{W: a.W, H: summaryHeight}) + "\n" + lists + "\n" + st.Panel("Events", "", d.events(st, l.events.Inner()), l.events, false)
}

func (d *rolloutDetail) summary(st *kit.Styles, a kit.Area) string {
	r := d.rollout
	w := a.W - 4
	counts := fmt.Sprintf("%d desired · %d updated · %d ready · %d available", r.Desired, r.Updated, r.Ready, r.Available)
	if n := r.Unavailable(); n > 0 {
		counts += fmt.Sprintf(" · %d unavailable", n)
	}
	bar := max(10, min(40, w-kit.Width(counts)-2))
	lines := []string{st.Dot(levelOf(r.Level)) + " " + statusText(st, r), progressBar(st, r, bar) + "  " + st.Text.Render(counts)}
	about := r.Strategy
	if r.Partition > 0 {
		about += fmt.Sprintf(" · partition %d", r.Partition)
	}
	about += " · " + strings.Join(observe.Images(r.Template), " ")
	if b := budget(d.state.snap, r); b != "" {
		about += " · " + b
	}
	lines = append(lines, st.Dim.Render(kit.Clean(about)))
	note := fmt.Sprintf("revision %d · age %s", r.Revision, observe.Span(d.state.now.Sub(r.Created)))
	return st.Panel(r.Kind+" "+r.Namespace+"/"+r.Name, note, strings.Join(lines, "\n"), a, false)
}

// budget says how many disruptions the PodDisruptionBudget of a rollout allows, or "" if there is none.
func budget(s *observe.Snapshot, r *observe.Rollout) string {
	if r.Template == nil {
		return ""
	}
	for _, b := range s.Budgets {
		sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil || b.Namespace != r.Namespace || !sel.Matches(labels.Set(r.Template.Labels)) {
			continue
		}
		if b.Status.DisruptionsAllowed == 0 {
			return "PDB " + b.Name + " allows no disruption: drains wait"
		}
		return fmt.Sprintf("PDB %s allows %s", b.Name, kit.Count(int(b.Status.DisruptionsAllowed), "disruption"))
	}
	return ""
}

// events lists the events of the rollout, its revisions and its pods, newest first.
func (d *rolloutDetail) events(st *kit.Styles, a kit.Area) string {
	var list []*corev1.Event
	list = append(list, d.state.snap.EventsOf(d.rollout.UID)...)
	for i := range d.revisions {
		list = append(list, d.state.snap.EventsOf(d.revisions[i].UID)...)
		for _, p := range d.revisions[i].Pods {
			list = append(list, d.state.snap.EventsOf(p.UID)...)
		}
	}
	return eventLines(st, list, d.state.now, a, true)
}
