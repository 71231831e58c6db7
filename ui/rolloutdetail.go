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
)

// rolloutDetail shows one rollout: its revisions, its pods by revision, and what happened.
type rolloutDetail struct {
	m         *Model
	w         *world
	key       string
	r         *observe.Rollout // nil when it is gone
	revisions []observe.Revision
	pods      []podLine
	revTable  table
	podTable  table
	onPods    bool // the focus
}

// podLine is a pod, or the heading of the revision whose pods follow.
type podLine struct {
	rev *observe.Revision // heading
	pod *corev1.Pod
}

func newRolloutDetail(m *Model, key string) *rolloutDetail {
	d := &rolloutDetail{m: m, key: key}
	d.revTable.setCols([]column{{title: "rev", right: true}, {title: "", min: 1}, {title: "pods", right: true},
		{title: "images", min: 10, grow: true}, {title: "cause", min: 8, max: 40, drop: 2}, {title: "age", right: true, drop: 1}})
	d.podTable.setCols([]column{{title: "", min: 1}, {title: "pod", min: 12, max: 48}, {title: "status", min: 8, grow: true},
		{title: "restarts", right: true, drop: 3}, {title: "node", drop: 1, max: 20}, {title: "age", right: true, drop: 2}})
	return d
}

func (d *rolloutDetail) title() string {
	_, name, _ := strings.Cut(d.key, "/")
	return name
}

func (d *rolloutDetail) keys() []binding {
	k := d.m.k
	if d.onPods {
		return append([]binding{k.left}, d.m.podKeys()...)
	}
	return append([]binding{k.right, k.diff}, d.m.rolloutKeys()...)
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
	d.revTable.setRows(len(revs), func(i int) string { return revs[i].Name }, func(i int) []cell { return revisionRow(&revs[i], w) })
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
	d.podTable.setRows(len(lines), func(i int) string {
		if lines[i].pod != nil {
			return lines[i].pod.Name
		}
		return "rev/" + lines[i].rev.Name
	}, func(i int) []cell { return podLineRow(lines[i], w) })
}

func revisionRow(r *observe.Revision, w *world) []cell {
	mark := cell{draw: func(st *styles, _ int) string { return st.text.Render(" ") }}
	if r.Current {
		mark = cell{draw: func(st *styles, _ int) string { return st.good.Render("●") }}
	}
	return []cell{txt(strconv.FormatInt(r.Number, 10)), mark, txt(strconv.Itoa(len(r.Pods))),
		txt(strings.Join(observe.Images(r.Template), " ")), soft(r.Cause), soft(observe.Span(w.now.Sub(r.Created)))}
}

func podLineRow(l podLine, w *world) []cell {
	if l.rev != nil {
		name := fmt.Sprintf("revision %d", l.rev.Number)
		note := count(len(l.rev.Pods), "pod")
		if l.rev.Current {
			note += ", newest"
		}
		return []cell{{draw: func(st *styles, _ int) string { return st.accent.Render("▾") }},
			{draw: func(st *styles, w int) string { return fit(st.title.Render(name), w) }}, soft(note)}
	}
	p := l.pod
	s := observe.PodStateOf(p, w.now)
	return []cell{{draw: func(st *styles, _ int) string { return st.dot(s.Level) }}, txt(p.Name),
		podCell(s),
		soft(strconv.Itoa(s.Restarts)), soft(p.Spec.NodeName), soft(observe.Span(w.now.Sub(p.CreationTimestamp.Time)))}
}

func (d *rolloutDetail) update(msg tea.Msg) tea.Cmd {
	key, ok := msg.(tea.KeyMsg)
	k := d.m.k
	switch {
	case d.r == nil:
		return nil
	case ok && k.left.match(key):
		d.onPods = false
		return nil
	case ok && !d.onPods && key.String() == "right", ok && !d.onPods && k.open.match(key):
		d.onPods = true
		return nil
	}
	if mouse, ok := msg.(tea.MouseMsg); ok {
		d.onPods = mouse.Y >= d.podTable.top && (d.podTable.top > d.revTable.top || mouse.X > d.m.size.w*2/5)
	}
	if d.onPods {
		if d.podTable.handle(msg, k) || !ok || d.podTable.cursor >= len(d.pods) {
			return nil
		}
		if p := d.pods[d.podTable.cursor].pod; p != nil {
			return d.m.podAction(key, p)
		}
		return nil
	}
	if d.revTable.handle(msg, k) || !ok {
		return nil
	}
	rev := d.revision()
	switch {
	case rev != nil && k.diff.match(key):
		return d.m.push(newDiffView(d.m, d.key, rev.Number))
	case rev != nil && k.undo.match(key):
		if rev.Current { // nothing was chosen: the one before
			rev = previousRevision(d.revisions)
		}
		return d.m.confirmUndo(d.r, refOf(d.r), rev)
	}
	return d.m.rolloutAction(key, d.r, d.w)
}

func (d *rolloutDetail) revision() *observe.Revision {
	if d.revTable.cursor < len(d.revisions) {
		return &d.revisions[d.revTable.cursor]
	}
	return nil
}

func (d *rolloutDetail) view(st *styles, a area) string {
	if d.r == nil {
		return st.empty(clean(d.key)+" is gone", "esc goes back", a)
	}
	if a.h < 12 || a.w < 50 {
		return d.small(st, a)
	}
	head := d.summary(st, area{a.w, 5})
	rest := a.h - 5
	events := min(9, max(4, rest/4))
	lists := rest - events
	var middle string
	if a.w >= 110 {
		left := a.w * 2 / 5
		middle = beside(
			st.panel("Revisions", "v compares", d.revTable.view(st, area{left - 4, lists - 2}, 6, !d.onPods), area{left, lists}, !d.onPods),
			st.panel("Pods", "", d.podTable.view(st, area{a.w - left - 4, lists - 2}, 6, d.onPods), area{a.w - left, lists}, d.onPods))
	} else {
		h := min(len(d.revisions)+3, max(4, lists/2))
		middle = st.panel("Revisions", "v compares", d.revTable.view(st, area{a.w - 4, h - 2}, 6, !d.onPods), area{a.w, h}, !d.onPods) + "\n" +
			st.panel("Pods", "", d.podTable.view(st, area{a.w - 4, lists - h - 2}, 6+h, d.onPods), area{a.w, lists - h}, d.onPods)
	}
	return head + "\n" + middle + "\n" + st.panel("Events", "", d.events(st, area{a.w - 4, events - 2}), area{a.w, events}, false)
}

// small is for windows without room for frames.
func (d *rolloutDetail) small(st *styles, a area) string {
	head := fit(" "+st.dot(d.r.Level)+" "+statusText(st, d.r), a.w) + "\n" + fit(" "+progressBar(st, d.r, a.w-2), a.w)
	t := &d.revTable
	if d.onPods {
		t = &d.podTable
	}
	return head + "\n" + t.view(st, area{a.w, a.h - 2}, 2, true)
}

func (d *rolloutDetail) summary(st *styles, a area) string {
	r := d.r
	w := a.w - 4
	counts := fmt.Sprintf("%d desired · %d updated · %d ready · %d available", r.Desired, r.Updated, r.Ready, r.Available)
	if n := r.Unavailable(); n > 0 {
		counts += fmt.Sprintf(" · %d unavailable", n)
	}
	bar := max(10, min(40, w-width(counts)-2))
	lines := []string{st.dot(r.Level) + " " + statusText(st, r), progressBar(st, r, bar) + "  " + st.text.Render(counts)}
	about := r.Strategy
	if r.Partition > 0 {
		about += fmt.Sprintf(" · partition %d", r.Partition)
	}
	about += " · " + strings.Join(observe.Images(r.Template), " ")
	if b := budget(d.w.snap, r); b != "" {
		about += " · " + b
	}
	lines = append(lines, st.dim.Render(clean(about)))
	note := fmt.Sprintf("revision %d · age %s", r.Revision, observe.Span(d.w.now.Sub(r.Created)))
	return st.panel(r.Kind+" "+r.Namespace+"/"+r.Name, note, strings.Join(lines, "\n"), a, false)
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
		return fmt.Sprintf("PDB %s allows %s", b.Name, count(int(b.Status.DisruptionsAllowed), "disruption"))
	}
	return ""
}

// events of the rollout and of what it made, newest first.
func (d *rolloutDetail) events(st *styles, a area) string {
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
