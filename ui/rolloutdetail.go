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

// rolloutDetail shows one rollout: its revisions, its pods by revision, and what happened.
type rolloutDetail struct {
	m         *Model
	w         *world
	key       string
	r         *observe.Rollout // nil when it is gone
	revisions []observe.Revision
	pods      []podLine
	revTable  kit.Table
	podTable  kit.Table
	onPods    bool // the focus
}

// podLine is a pod, or the heading of the revision whose pods follow.
type podLine struct {
	rev *observe.Revision // heading
	pod *corev1.Pod
}

func newRolloutDetail(m *Model, key string) *rolloutDetail {
	d := &rolloutDetail{m: m, key: key}
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
	k := d.m.k
	if d.onPods {
		return append([]kit.Binding{k.Left}, d.m.podKeys()...)
	}
	return append([]kit.Binding{k.Right, k.diff}, d.m.rolloutKeys()...)
}

func (d *rolloutDetail) set(w *world) {
	d.w, d.r = w, nil
	for _, r := range observe.Rollouts(w.snap, w.now) {
		if r.Key() == d.key {
			d.r = &r
		}
	}
	if d.r == nil {
		return
	}
	d.revisions = observe.Revisions(w.snap, d.r)
	revs := d.revisions
	d.revTable.SetRows(len(revs), func(i int) string { return revs[i].Name }, func(i int) []kit.Cell { return revisionRow(&revs[i], w) })
	d.pods = d.pods[:0]
	for i := range revs {
		if len(revs[i].Pods) == 0 && !revs[i].Current {
			continue
		}
		d.pods = append(d.pods, podLine{rev: &revs[i]})
		for _, p := range revs[i].Pods {
			if w.matches(p.Name, p.Spec.NodeName) {
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
	}, func(i int) []kit.Cell { return podLineRow(lines[i], w) })
}

func revisionRow(r *observe.Revision, w *world) []kit.Cell {
	mark := kit.Cell{Draw: func(st *kit.Styles, _ int) string { return st.Text.Render(" ") }}
	if r.Current {
		mark = kit.Cell{Draw: func(st *kit.Styles, _ int) string { return st.Good.Render("●") }}
	}
	return []kit.Cell{kit.Text(strconv.FormatInt(r.Number, 10)), mark, kit.Text(strconv.Itoa(len(r.Pods))),
		kit.Text(strings.Join(observe.Images(r.Template), " ")), kit.Dim(r.Cause), kit.Dim(observe.Span(w.now.Sub(r.Created)))}
}

func podLineRow(l podLine, w *world) []kit.Cell {
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
	s := observe.PodStateOf(p, w.now)
	return []kit.Cell{dotCell(s.Level), kit.Text(p.Name),
		podCell(s),
		kit.Dim(strconv.Itoa(s.Restarts)), kit.Dim(p.Spec.NodeName), kit.Dim(observe.Span(w.now.Sub(p.CreationTimestamp.Time)))}
}

func (d *rolloutDetail) update(msg tea.Msg) tea.Cmd {
	key, ok := msg.(tea.KeyMsg)
	k := d.m.k
	switch {
	case d.r == nil:
		return nil
	case ok && k.Left.Match(key):
		d.onPods = false
		return nil
	case ok && !d.onPods && key.String() == "right", ok && !d.onPods && k.open.Match(key):
		d.onPods = true
		return nil
	}
	if mouse, ok := msg.(tea.MouseMsg); ok {
		d.onPods = mouse.Y >= d.podTable.Top && (d.podTable.Top > d.revTable.Top || mouse.X > d.m.size.W*2/5)
	}
	if d.onPods {
		if d.podTable.Handle(msg, k.MoveKeys) || !ok || d.podTable.Cursor >= len(d.pods) {
			return nil
		}
		if p := d.pods[d.podTable.Cursor].pod; p != nil {
			return d.m.podAction(key, p)
		}
		return nil
	}
	if d.revTable.Handle(msg, k.MoveKeys) || !ok {
		return nil
	}
	rev := d.revision()
	switch {
	case rev != nil && k.diff.Match(key):
		return d.m.push(newDiffView(d.m, d.key, rev.Number))
	case rev != nil && k.undo.Match(key):
		if rev.Current { // nothing was chosen: the one before
			rev = previousRevision(d.revisions)
		}
		return d.m.confirmUndo(d.r, refOf(d.r), rev)
	}
	return d.m.rolloutAction(key, d.r, d.w)
}

func (d *rolloutDetail) revision() *observe.Revision {
	if d.revTable.Cursor < len(d.revisions) {
		return &d.revisions[d.revTable.Cursor]
	}
	return nil
}

func (d *rolloutDetail) view(st *kit.Styles, a kit.Area) string {
	if d.r == nil {
		return st.Empty(kit.Clean(d.key)+" is gone", "esc goes back", a)
	}
	if a.H < 12 || a.W < 50 {
		return d.small(st, a)
	}
	head := d.summary(st, kit.Area{W: a.W, H: 5})
	rest := a.H - 5
	events := min(9, max(4, rest/4))
	lists := rest - events
	var middle string
	if a.W >= 110 {
		left := a.W * 2 / 5
		middle = kit.Beside(
			st.Panel("Revisions", "v compares", d.revTable.View(st, kit.Area{W: left - 4, H: lists - 2}, 6, !d.onPods), kit.Area{W: left, H: lists}, !d.onPods),
			st.Panel("Pods", "", d.podTable.View(st, kit.Area{W: a.W - left - 4, H: lists - 2}, 6, d.onPods), kit.Area{W: a.W - left, H: lists}, d.onPods))
	} else {
		h := min(len(d.revisions)+3, max(4, lists/2))
		middle = st.Panel("Revisions", "v compares", d.revTable.View(st, kit.Area{W: a.W - 4, H: h - 2}, 6, !d.onPods), kit.Area{W: a.W, H: h}, !d.onPods) + "\n" +
			st.Panel("Pods", "", d.podTable.View(st, kit.Area{W: a.W - 4, H: lists - h - 2}, 6+h, d.onPods), kit.Area{W: a.W, H: lists - h}, d.onPods)
	}
	return head + "\n" + middle + "\n" + st.Panel("Events", "", d.events(st, kit.Area{W: a.W - 4, H: events - 2}), kit.Area{W: a.W, H: events}, false)
}

// small is for windows without room for frames.
func (d *rolloutDetail) small(st *kit.Styles, a kit.Area) string {
	head := kit.Fit(" "+st.Dot(levelOf(d.r.Level))+" "+statusText(st, d.r), a.W) + "\n" + kit.Fit(" "+progressBar(st, d.r, a.W-2), a.W)
	t := &d.revTable
	if d.onPods {
		t = &d.podTable
	}
	return head + "\n" + t.View(st, kit.Area{W: a.W, H: a.H - 2}, 2, true)
}

func (d *rolloutDetail) summary(st *kit.Styles, a kit.Area) string {
	r := d.r
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
	if b := budget(d.w.snap, r); b != "" {
		about += " · " + b
	}
	lines = append(lines, st.Dim.Render(kit.Clean(about)))
	note := fmt.Sprintf("revision %d · age %s", r.Revision, observe.Span(d.w.now.Sub(r.Created)))
	return st.Panel(r.Kind+" "+r.Namespace+"/"+r.Name, note, strings.Join(lines, "\n"), a, false)
}

// budget says what a PodDisruptionBudget allows for a rollout's pods.
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

// events of the rollout and of what it made, newest first.
func (d *rolloutDetail) events(st *kit.Styles, a kit.Area) string {
	var list []*corev1.Event
	list = append(list, d.w.snap.EventsOf(d.r.UID)...)
	for i := range d.revisions {
		list = append(list, d.w.snap.EventsOf(d.revisions[i].UID)...)
		for _, p := range d.revisions[i].Pods {
			list = append(list, d.w.snap.EventsOf(p.UID)...)
		}
	}
	return eventLines(st, list, d.w.now, a, true)
}
