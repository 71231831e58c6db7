package ui

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/ui/kit"
)

// rollouts lists every Deployment, StatefulSet and DaemonSet with the progress of its newest template.
type rollouts struct {
	sh       shell
	state    viewState
	list     []observe.Rollout
	table    kit.Table
	troubled bool // sort those first that need attention
}

func newRollouts(sh shell) *rollouts {
	r := &rollouts{sh: sh, troubled: true}
	r.table.SetCols([]kit.Column{
		{Title: "", Min: 1}, {Title: "name", Min: 24, Max: 52},
		{Title: "kind", Drop: 3}, {Title: "progress", Min: 8, Max: 16}, {Title: "ready", Right: true},
		{Title: "status", Min: 30, Grow: true}, {Title: "images", Min: 10, Max: 36, Drop: 7}, {Title: "strategy", Min: 26, Max: 30, Drop: 6},
		{Title: "rev", Right: true, Drop: 5}, {Title: "age", Right: true, Drop: 2},
	})
	return r
}

func (r *rollouts) title() string { return "Rollouts" }

func (r *rollouts) keys() []kit.Binding {
	k := r.sh.keys()
	return append([]kit.Binding{k.open}, append(rolloutKeys(k), k.sort)...)
}

func (r *rollouts) setState(v viewState) {
	r.state = v
	r.list = r.list[:0]
	for _, x := range observe.Rollouts(v.snap, v.now) {
		if v.in(x.Namespace) && v.matches(x.Namespace, x.Name, x.Kind, string(x.State), x.Why) {
			r.list = append(r.list, x)
		}
	}
	if r.troubled {
		slices.SortStableFunc(r.list, func(a, b observe.Rollout) int { return cmp.Compare(urgency(&b), urgency(&a)) })
	}
	list := r.list
	r.table.SetRows(len(list), func(i int) string { return list[i].Key() }, func(i int) []kit.Cell { return rolloutRow(&list[i], v) })
}

// urgency ranks rollouts: stuck and unavailable ones highest, then those under way, then the rest.
func urgency(r *observe.Rollout) int {
	if !r.Moving() {
		return 0
	}
	return int(r.Level)
}

func (r *rollouts) current() *observe.Rollout {
	if r.table.Cursor < len(r.list) {
		return &r.list[r.table.Cursor]
	}
	return nil
}

func (r *rollouts) update(msg tea.Msg) tea.Cmd {
	if r.table.Handle(msg, r.sh.keys().MoveKeys) {
		return nil
	}
	key, ok := msg.(tea.KeyMsg)
	if !ok {
		return nil
	}
	if r.sh.keys().sort.Match(key) {
		r.troubled = !r.troubled
		r.setState(r.state)
		return nil
	}
	cur := r.current()
	if cur == nil {
		return nil
	}
	if r.sh.keys().open.Match(key) {
		return r.sh.push(newRolloutDetail(r.sh, cur.Key()))
	}
	return rolloutAction(r.sh, key, cur, r.state)
}

func (r *rollouts) view(st *kit.Styles, a kit.Area) string {
	s := r.state.snap
	switch {
	case len(r.list) == 0 && !(s.Has("deployments") && s.Has("statefulsets") && s.Has("daemonsets")):
		return st.Skeleton("loading rollouts", r.state.frame, a)
	case len(r.list) == 0 && r.state.filter != "":
		return st.Empty("No rollout matches /"+kit.Clean(r.state.filter), "esc clears the filter", a)
	case len(r.list) == 0:
		if what, hint := r.state.refused("deployments", "statefulsets", "daemonsets"); what != "" {
			return st.Empty(what, hint, a)
		}
		return st.Empty("Nothing is deployed here", "kubectl create deployment web --image=…  ·  n chooses another namespace", a)
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
	sum := st.Dim.Render(fmt.Sprintf(" %s", kit.Count(len(r.list), "rollout")))
	if moving > 0 {
		sum += st.Faint.Render(" · ") + st.Busy.Render(fmt.Sprintf("%d not complete", moving))
	}
	if bad > 0 {
		sum += st.Faint.Render(" · ") + st.Bad.Render(fmt.Sprintf("%d in trouble", bad))
	}
	why := ""
	if cur := r.current(); cur != nil && cur.Why != "" {
		why = whyStrip(st, cur.Level, cur.Namespace+"/"+cur.Name, cur.Why, a)
	}
	return kit.Fit(sum, a.W) + "\n" + r.table.View(st, true) + why
}

func (r *rollouts) resize(a kit.Area) {
	list := kit.Area{W: a.W, H: a.H - 1}
	if cur := r.current(); cur != nil && cur.Why != "" {
		list.H -= whyHeight(cur.Namespace+"/"+cur.Name, cur.Why, a)
	}
	r.table.Resize(list, 1)
}

// whyLines wraps the reason why something is in trouble into at most three lines, or none in a small area.
func whyLines(name, why string, a kit.Area) []string {
	if a.H < 12 {
		return nil
	}
	lines := kit.Wrap(name+": "+why, a.W-4)
	return lines[:min(len(lines), 3)]
}

// whyHeight is the number of lines that whyStrip takes.
func whyHeight(name, why string, a kit.Area) int {
	if n := len(whyLines(name, why, a)); n > 0 {
		return n + 1
	}
	return 0
}

// whyStrip draws below a list why the selected row is in trouble.
func whyStrip(st *kit.Styles, level observe.Level, name, why string, a kit.Area) string {
	lines := whyLines(name, why, a)
	if len(lines) == 0 {
		return ""
	}
	out := "\n" + st.Faint.Render(strings.Repeat("─", a.W))
	for i, l := range lines {
		mark := st.Dot(levelOf(level))
		if i > 0 {
			mark = " "
		}
		out += "\n" + kit.Fit(" "+mark+" "+st.Text.Render(l), a.W)
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

func rolloutRow(r *observe.Rollout, v viewState) []kit.Cell {
	return []kit.Cell{
		dotCell(r.Level),
		nameCell(v, r.Namespace, r.Name), kit.Dim(shortKind(r.Kind)),
		{Draw: func(st *kit.Styles, w int) string { return progressBar(st, r, w) }},
		{Text: fmt.Sprintf("%d/%d", r.Ready, r.Desired)},
		statusCell(r),
		kit.Dim(strings.Join(observe.Images(r.Template), " ")), kit.Dim(r.Strategy),
		kit.Dim(strconv.FormatInt(r.Revision, 10)), kit.Dim(observe.Span(v.now.Sub(r.Created))),
	}
}

// statusText is the state of a rollout and the reason.
func statusText(st *kit.Styles, r *observe.Rollout) string {
	s := st.Level(levelOf(r.Level)).Render(string(r.State))
	if r.Why != "" {
		s += st.Text.Render("  ") + st.Dim.Render(kit.Clean(r.Why))
	}
	return s
}

// nameCell is a name, after its namespace unless only one namespace is shown.
func nameCell(v viewState, namespace, name string) kit.Cell {
	if v.namespace != "" || namespace == "" {
		return kit.Text(name)
	}
	return kit.Cell{Text: namespace + "/" + name, Draw: func(st *kit.Styles, w int) string {
		return kit.Cut(st.Dim.Render(kit.Clean(namespace)+"/")+st.Text.Render(kit.Clean(name)), w)
	}}
}

func statusCell(r *observe.Rollout) kit.Cell {
	return kit.Cell{Text: string(r.State) + "  " + r.Why, Draw: func(st *kit.Styles, w int) string { return kit.Cut(statusText(st, r), w) }}
}

// progressBar shows the pods of the newest template that are available (━) and that are not (╍), old pods (┄) and missing
// ones (·).
func progressBar(st *kit.Styles, r *observe.Rollout, w int) string {
	old := max(0, int(r.Current-r.Updated))
	working := max(0, min(int(r.Updated), int(r.Available)-old))
	if r.Updated >= r.Desired && old == 0 {
		working = min(int(r.Updated), int(r.Available))
	}
	whole := max(int(r.Desired), int(r.Updated)+old)
	fresh := st.Good
	if r.Moving() {
		fresh = st.Busy
	}
	pending := st.Warn
	if r.Level == observe.Bad {
		pending = st.Bad
	}
	return st.Stack(whole, w, kit.Part{N: working, Glyph: "━", Style: fresh}, kit.Part{N: int(r.Updated) - working, Glyph: "╍", Style: pending}, kit.Part{N: old, Glyph: "┄", Style: st.Dim})
}

// rolloutKeys are the keys that rolloutAction handles.
func rolloutKeys(k *keyMap) []kit.Binding {
	return []kit.Binding{k.logs, k.restart, k.undo, k.scale, k.pause, k.partition, k.image, k.describe, k.yaml, k.events}
}

func refOf(r *observe.Rollout) observe.Ref {
	return observe.Ref{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
}

// rolloutAction does with a rollout what a key stands for. It asks before it changes anything.
func rolloutAction(sh shell, key tea.KeyMsg, r *observe.Rollout, v viewState) tea.Cmd {
	k, ref := sh.keys(), refOf(r)
	if sh.session() == nil {
		return nil
	}
	switch {
	case k.logs.Match(key):
		return openLogs(sh, r.Namespace+"/"+r.Name, podsOfRollout(v.snap, r))
	case k.restart.Match(key):
		return confirmRestart(sh, ref)
	case k.pause.Match(key):
		return confirmPause(sh, r, ref)
	case k.undo.Match(key):
		return confirmUndo(sh, r, ref, previousRevision(observe.Revisions(v.snap, r)))
	case k.scale.Match(key):
		return askScale(sh, r, ref)
	case k.partition.Match(key):
		return askPartition(sh, r, ref)
	case k.image.Match(key):
		return askImage(sh, r, ref)
	}
	return inspectKey(sh, key, object{resourceOf(r.Kind), r.Namespace, r.Name})
}
