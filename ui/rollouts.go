package ui

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster/observe"
)

// rollouts lists every Deployment, StatefulSet and DaemonSet with how far its newest template has got.
type rollouts struct {
	m        *Model
	w        *world
	list     []observe.Rollout
	table    table
	troubled bool // those that need attention first
}

func newRollouts(m *Model) *rollouts {
	r := &rollouts{m: m, troubled: true}
	r.table.setCols([]column{
		{title: "", min: 1}, {title: "name", min: 24, max: 52},
		{title: "kind", drop: 3}, {title: "progress", min: 8, max: 16}, {title: "ready", right: true},
		{title: "status", min: 30, grow: true}, {title: "images", min: 10, max: 36, drop: 7}, {title: "strategy", min: 26, max: 30, drop: 6},
		{title: "rev", right: true, drop: 5}, {title: "age", right: true, drop: 2},
	})
	return r
}

func (r *rollouts) title() string { return "Rollouts" }

func (r *rollouts) keys() []binding {
	k := r.m.k
	return append([]binding{k.open}, append(r.m.rolloutKeys(), k.sort)...)
}

func (r *rollouts) set(w *world) {
	r.w = w
	r.list = r.list[:0]
	for _, x := range observe.Rollouts(w.snap, w.now) {
		if w.in(x.Namespace) && w.matches(x.Namespace, x.Name, x.Kind, string(x.State), x.Why) {
			r.list = append(r.list, x)
		}
	}
	if r.troubled {
		slices.SortStableFunc(r.list, func(a, b observe.Rollout) int { return cmp.Compare(urgency(&b), urgency(&a)) })
	}
	list := r.list
	r.table.setRows(len(list), func(i int) string { return list[i].Key() }, func(i int) []cell { return rolloutRow(&list[i], w) })
}

// urgency groups rollouts: stuck and unavailable, then those under way, then the rest.
func urgency(r *observe.Rollout) int {
	if !r.Moving() {
		return 0
	}
	return int(r.Level)
}

func (r *rollouts) current() *observe.Rollout {
	if r.table.cursor < len(r.list) {
		return &r.list[r.table.cursor]
	}
	return nil
}

func (r *rollouts) update(msg tea.Msg) tea.Cmd {
	if r.table.handle(msg, r.m.k) {
		return nil
	}
	key, ok := msg.(tea.KeyMsg)
	if !ok {
		return nil
	}
	if r.m.k.sort.match(key) {
		r.troubled = !r.troubled
		r.set(r.w)
		return nil
	}
	cur := r.current()
	if cur == nil {
		return nil
	}
	if r.m.k.open.match(key) {
		return r.m.push(newRolloutDetail(r.m, cur.Key()))
	}
	return r.m.rolloutAction(key, cur, r.w)
}

func (r *rollouts) view(st *styles, a area) string {
	s := r.w.snap
	switch {
	case len(r.list) == 0 && !(s.Has("deployments") && s.Has("statefulsets") && s.Has("daemonsets")):
		return st.skeleton("loading rollouts", r.w.frame, a)
	case len(r.list) == 0 && r.w.filter != "":
		return st.empty("No rollout matches /"+clean(r.w.filter), "esc clears the filter", a)
	case len(r.list) == 0:
		return st.empty("Nothing is deployed here", "kubectl create deployment web --image=…  ·  n chooses another namespace", a)
	}
	moving, bad := 0, 0
	for i := range r.list {
		if r.list[i].Moving() {
			moving++
		}
		if r.list[i].Level == observe.Bad {
			bad++
		}
	}
	sum := st.dim.Render(fmt.Sprintf(" %s", count(len(r.list), "rollout")))
	if moving > 0 {
		sum += st.faint.Render(" · ") + st.busy.Render(fmt.Sprintf("%d not complete", moving))
	}
	if bad > 0 {
		sum += st.faint.Render(" · ") + st.bad.Render(fmt.Sprintf("%d in trouble", bad))
	}
	list := area{a.w, a.h - 1}
	why := ""
	if cur := r.current(); cur != nil && cur.Why != "" {
		why = whyStrip(st, cur.Level, cur.Namespace+"/"+cur.Name, cur.Why, a)
		list.h -= strings.Count(why, "\n")
	}
	return fit(sum, a.w) + "\n" + r.table.view(st, list, 1, true) + why
}

// whyStrip says below a list, without cutting it short, what is wrong with the chosen line.
func whyStrip(st *styles, level observe.Level, name, why string, a area) string {
	if a.h < 12 {
		return ""
	}
	lines := wrap(name+": "+why, a.w-4)
	lines = lines[:min(len(lines), 3)]
	out := "\n" + st.faint.Render(strings.Repeat("─", a.w))
	for i, l := range lines {
		mark := st.dot(level)
		if i > 0 {
			mark = " "
		}
		out += "\n" + fit(" "+mark+" "+st.text.Render(l), a.w)
	}
	return out
}

func shortKind(kind string) string {
	switch kind {
	case observe.KindDeployment:
		return "deploy"
	case observe.KindStatefulSet:
		return "sts"
	case observe.KindDaemonSet:
		return "ds"
	}
	return strings.ToLower(kind)
}

func rolloutRow(r *observe.Rollout, w *world) []cell {
	return []cell{
		{draw: func(st *styles, _ int) string { return st.dot(r.Level) }},
		nameCell(w, r.Namespace, r.Name), soft(shortKind(r.Kind)),
		{draw: func(st *styles, w int) string { return progressBar(st, r, w) }},
		{text: fmt.Sprintf("%d/%d", r.Ready, r.Desired)},
		statusCell(r),
		soft(strings.Join(observe.Images(r.Template), " ")), soft(r.Strategy),
		soft(strconv.FormatInt(r.Revision, 10)), soft(observe.Span(w.now.Sub(r.Created))),
	}
}

// statusText is the state, and why in words.
func statusText(st *styles, r *observe.Rollout) string {
	s := st.level(r.Level).Render(string(r.State))
	if r.Why != "" {
		s += st.text.Render("  ") + st.dim.Render(clean(r.Why))
	}
	return s
}

// nameCell is a name, with its namespace unless only one is shown.
func nameCell(w *world, namespace, name string) cell {
	if w.namespace != "" || namespace == "" {
		return txt(name)
	}
	return cell{text: namespace + "/" + name, draw: func(st *styles, w int) string {
		return cut(st.dim.Render(clean(namespace)+"/")+st.text.Render(clean(name)), w)
	}}
}

func statusCell(r *observe.Rollout) cell {
	return cell{text: string(r.State) + "  " + r.Why, draw: func(st *styles, w int) string { return cut(statusText(st, r), w) }}
}

// progressBar shows pods of the newest template that work (━), that do not yet (╍), old ones (┄) and missing ones (·).
func progressBar(st *styles, r *observe.Rollout, w int) string {
	old := max(0, int(r.Current-r.Updated))
	working := max(0, min(int(r.Updated), int(r.Available)-old))
	if r.Updated >= r.Desired && old == 0 {
		working = min(int(r.Updated), int(r.Available))
	}
	whole := max(int(r.Desired), int(r.Updated)+old)
	fresh := st.good
	if r.Moving() {
		fresh = st.busy
	}
	pending := st.warn
	if r.Level == observe.Bad {
		pending = st.bad
	}
	return st.stack(whole, w, part{working, "━", fresh}, part{int(r.Updated) - working, "╍", pending}, part{old, "┄", st.dim})
}

// rolloutKeys are what can be done to a rollout.
func (m *Model) rolloutKeys() []binding {
	k := m.k
	return []binding{k.logs, k.restart, k.undo, k.scale, k.pause, k.partition, k.image, k.describe, k.yaml, k.events}
}

func refOf(r *observe.Rollout) observe.Ref {
	return observe.Ref{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}

// rolloutAction answers the keys of rolloutKeys for one rollout; each asks before it changes anything.
func (m *Model) rolloutAction(key tea.KeyMsg, r *observe.Rollout, w *world) tea.Cmd {
	k, ref := m.k, refOf(r)
	name := r.Namespace + "/" + r.Name
	if m.session == nil {
		return nil
	}
	switch {
	case k.logs.match(key):
		return m.openLogs(name, podsOfRollout(w.snap, r))
	case k.describe.match(key), k.yaml.match(key), k.events.match(key):
		return m.inspect(key, resourceOf(r.Kind), r.Kind, r.Namespace, r.Name)
	case k.restart.match(key):
		return m.confirmRestart(ref)
	case k.pause.match(key):
		return m.confirmPause(r, ref)
	case k.undo.match(key):
		return m.confirmUndo(r, ref, previousRevision(observe.Revisions(w.snap, r)))
	case k.scale.match(key):
		return m.askScale(r, ref)
	case k.partition.match(key):
		return m.askPartition(r, ref)
	case k.image.match(key):
		return m.askImage(r, ref)
	}
	return nil
}
