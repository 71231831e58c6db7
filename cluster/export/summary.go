package export

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
)

const (
	maxFindings = 40 // of one kind in the summary
	recent      = time.Hour
)

// findings are what looks wrong, one line each, the worst first.
func (s *sight) findings(now time.Time) []string {
	out := s.planeFindings()
	if s.api == nil {
		return out
	}
	snap := s.snapshot(now)
	var nodes []string
	for _, n := range observe.Nodes(snap, now) {
		if n.Level >= observe.Warn {
			nodes = append(nodes, strings.TrimSuffix(fmt.Sprintf("node %s is %s: %s", n.Name, n.Text, n.Why), ": "))
		}
	}
	var pods alike
	for _, p := range broken(s.pods) {
		owner := "pod " + p.Name
		if o := metav1.GetControllerOfNoCopy(p); o != nil {
			owner = o.Kind + " " + o.Name
		}
		switch state := observe.PodStateOf(p, now); {
		case state.Level >= observe.Warn, state.Level == observe.Busy && now.Sub(p.CreationTimestamp.Time) > 2*time.Minute:
			pods.add(p.Namespace+" "+owner+" "+state.Text+" "+state.Why, podFinding(p, state))
		case state.Restarts > 0 && now.Sub(state.LastFailed) < recent:
			pods.add(p.Namespace+" "+owner, fmt.Sprintf("pod %s/%s runs, but was restarted %d times, the last time %s ago", p.Namespace, p.Name, state.Restarts, observe.Span(now.Sub(state.LastFailed))))
		}
	}
	return slices.Concat(out, capped(nodes), capped(pods.lines()), capped(warnings(s.events, now)))
}

// alike are findings of which many say the same about different objects: the first stands for all.
type alike struct {
	first []string
	more  map[string]int // by key, of those after the first
	keys  []string       // of first
}

func (a *alike) add(key, line string) {
	if a.more == nil {
		a.more = map[string]int{}
	}
	if _, ok := a.more[key]; ok {
		a.more[key]++
		return
	}
	a.more[key] = 0
	a.first, a.keys = append(a.first, line), append(a.keys, key)
}

func (a *alike) lines() []string {
	var out []string
	for i, line := range a.first {
		if n := a.more[a.keys[i]]; n > 0 {
			line += fmt.Sprintf(" (and %d more)", n)
		}
		out = append(out, line)
	}
	return out
}

func podFinding(p *corev1.Pod, state observe.PodState) string {
	line := fmt.Sprintf("pod %s/%s is %s", p.Namespace, p.Name, state.Text)
	if state.Why != "" {
		line += ": " + state.Why
	}
	if p.Spec.NodeName != "" {
		line += " (on " + p.Spec.NodeName + ")"
	}
	return line
}

// planeFindings are those about what kl itself knows.
func (s *sight) planeFindings() (out []string) {
	if s.infoErr != nil {
		out = append(out, "the state of the cluster cannot be read: "+reason(s.infoErr))
	}
	i := s.info
	if i.Phase != cluster.PhaseReady && i.Phase != "" {
		out = append(out, strings.TrimSuffix(fmt.Sprintf("the cluster is %s: %s", i.Phase, oneLine(i.Reason)), ": "))
	}
	if up := []cluster.Phase{cluster.PhaseReady, cluster.PhaseDegraded, cluster.PhaseStarting, cluster.PhaseUnknown, ""}; s.apiErr != nil && slices.Contains(up, i.Phase) {
		out = append(out, reason(s.apiErr))
	}
	if i.Crashes != nil && i.Crashes.Last != nil {
		out = append(out, fmt.Sprintf("the control plane died %d times, the last time at %s: %s", i.Crashes.Count, i.Crashes.Last.Time.UTC().Format(time.RFC3339), oneLine(i.Crashes.Last.Reason)))
	}
	for _, p := range i.Problems {
		out = append(out, oneLine(p))
	}
	if i.Status != nil {
		for _, c := range i.Status.Components {
			if c.State != cluster.ComponentServing || c.Error != "" || c.Restarts > 0 {
				line := fmt.Sprintf("component %s is %s", c.Name, c.State)
				if c.Restarts > 0 {
					line += fmt.Sprintf(", after %d restarts", c.Restarts)
				}
				out = append(out, strings.TrimSuffix(line+": "+oneLine(c.Error), ": "))
			}
		}
	}
	for _, n := range i.Nodes {
		if n.State != cluster.NodeRunning && i.Phase != cluster.PhaseStopped {
			out = append(out, strings.TrimSuffix(fmt.Sprintf("node %s is %s: %s", n.Name, n.State, oneLine(n.Problem)), ": "))
		}
	}
	return out
}

// warnings are the newest events of type Warning, one for each object and reason.
func warnings(events []corev1.Event, now time.Time) []string {
	newest := map[string]*corev1.Event{}
	for i := range events {
		e := &events[i]
		if e.Type != corev1.EventTypeWarning || now.Sub(observe.EventTime(e)) > recent {
			continue
		}
		key := eventObject(e) + " " + e.Reason
		if old := newest[key]; old == nil || observe.EventTime(old).Before(observe.EventTime(e)) {
			newest[key] = e
		}
	}
	var list []*corev1.Event
	for _, e := range newest {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *corev1.Event) int {
		return cmp.Or(observe.EventTime(b).Compare(observe.EventTime(a)), cmp.Compare(a.Name, b.Name))
	})
	var out alike
	for _, e := range list {
		count := ""
		if n := eventCount(e); n > 1 {
			count = fmt.Sprintf(", %d times", n)
		}
		message := oneLine(e.Message)
		out.add(e.InvolvedObject.Kind+" "+e.InvolvedObject.Namespace+" "+e.Reason+" "+message,
			fmt.Sprintf("warning of %s, %s ago%s: %s: %s", eventObject(e), observe.Span(now.Sub(observe.EventTime(e))), count, e.Reason, message))
	}
	return out.lines()
}

// capped bounds a list, and says how many more there are.
func capped(list []string) []string {
	if len(list) <= maxFindings {
		return list
	}
	return append(list[:maxFindings:maxFindings], fmt.Sprintf("(%d more like these)", len(list)-maxFindings))
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
