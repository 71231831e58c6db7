package dev

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/observe"
)

// steady is how long a workload that has crashed has to be complete until it is called ready: a program that ends after some seconds is
// ready in between, too.
const steady = 10 * time.Second

// Tracker follows workloads from a build of their image until their new pods are ready. It is not safe for concurrent use.
type Tracker struct {
	namespace string            // that lines do not name; empty for default
	only      []string          // full names of images; empty for all
	newest    map[string]string // ID by full name
	rolls     map[observe.Ref]*roll
}

// roll is a workload that is rolled for a build.
type roll struct {
	build          Build
	seen           bool // a snapshot had the template with the build's ID
	crashed        bool
	phase          phase
	ready, desired int
	ended          time.Time // when the phase began, unless it is rolling
	complete       time.Time // since when it is; zero if it is not
	why            string
}

// phase is what a roll was last said to be.
type phase int

const (
	starting phase = iota // nothing was said yet
	rolling
	stuck
	done
)

// NewTracker returns a Tracker for images of these full names; for all if there are none. Lines do not say the namespace.
func NewTracker(namespace string, only []string) *Tracker {
	return &Tracker{namespace: namespace, only: only, newest: map[string]string{}, rolls: map[observe.Ref]*roll{}}
}

// Know notes which image has a name, unless that is known. It is no build.
func (t *Tracker) Know(name, id string) {
	if _, known := t.newest[name]; !known {
		t.newest[name] = id
	}
}

// Unknown returns the names of images in use that Know and Built have not been called for.
func (t *Tracker) Unknown(s *observe.Snapshot, now time.Time) []string {
	var names []string
	for _, r := range observe.Rollouts(s, now) {
		for _, name := range Names(&r.Template.Spec) {
			if _, known := t.newest[name]; !known && t.wants(name) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// wants reports whether builds of that name matter. Images of kl's own are not what anyone develops.
func (t *Tracker) wants(name string) bool {
	return !strings.HasPrefix(name, "kl.local/") && (len(t.only) == 0 || slices.Contains(t.only, name))
}

// Built returns the workloads to roll for a build, and what there is to say. Nothing happens if the name had that ID already.
func (t *Tracker) Built(b Build, s *observe.Snapshot, now time.Time) (restart []observe.Ref, lines []string) {
	if !t.wants(b.Name) || t.newest[b.Name] == b.ID {
		return nil, nil
	}
	t.newest[b.Name] = b.ID
	users := UsersOf(s, b.Name, now)
	for _, r := range users.Rollouts {
		ref := observe.Ref{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
		if old := t.rolls[ref]; old != nil && old.phase == rolling {
			lines = append(lines, t.line(ref, old, now, "superseded"))
		}
		t.rolls[ref] = &roll{build: b, desired: int(r.Desired)}
		restart = append(restart, ref)
	}
	for _, p := range users.Pods {
		lines = append(lines, fmt.Sprintf("%s  %s  stays as it is: no workload makes it anew",
			title(observe.Ref{Namespace: p.Namespace, Name: "pod/" + p.Name}, t.namespace), b.Title()))
	}
	if len(restart)+len(lines) == 0 {
		lines = []string{b.Title() + "  no workload uses it"}
	}
	return restart, lines
}

// Refused notes that a workload could not be rolled for a build, and returns what there is to say.
func (t *Tracker) Refused(ref observe.Ref, b Build, now time.Time, err error) []string {
	r := t.rolls[ref]
	if r == nil || r.build != b {
		return nil
	}
	delete(t.rolls, ref)
	return []string{t.line(ref, r, now, err.Error())}
}

// Update is something to say of a workload.
type Update struct {
	Text     string
	Progress bool // it goes on: View.Active says the same on a terminal
	Log      *Log // of the container that ended
}

// Log is a container's log.
type Log struct {
	Source   observe.LogSource
	Previous bool // of its last run
}

// View is what is to be shown.
type View struct {
	Updates []Update
	Active  []string // a line for each workload that is not ready
}

// Look compares the workloads with a snapshot.
func (t *Tracker) Look(s *observe.Snapshot, now time.Time) View {
	var v View
	rollouts := map[observe.Ref]*observe.Rollout{}
	for _, r := range observe.Rollouts(s, now) {
		rollouts[observe.Ref{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}] = &r
	}
	for _, ref := range slices.SortedFunc(maps.Keys(t.rolls), compare) {
		r := t.rolls[ref]
		v.Updates = append(v.Updates, t.look(ref, r, rollouts[ref], s, now)...)
		if t.rolls[ref] == r && r.phase != done {
			v.Active = append(v.Active, t.line(ref, r, now, r.why))
		}
	}
	return v
}

func compare(a, b observe.Ref) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
}

// look is Look for one workload.
func (t *Tracker) look(ref observe.Ref, r *roll, o *observe.Rollout, s *observe.Snapshot, now time.Time) []Update {
	if o == nil {
		return t.drop(ref, r, now, "deleted")
	}
	if o.Template.Annotations[Annotation] != r.build.ID {
		if r.seen { // such as by kubectl rollout undo
			return t.drop(ref, r, now, "its template was changed by someone else")
		}
		return t.progress(ref, r, 0, int(o.Desired), now)
	}
	r.seen = true
	pods := podsFor(s, o, r.build.ID)
	ready := 0
	for _, p := range pods {
		if observe.PodStateOf(p, now).Level == observe.Good {
			ready++
		}
	}
	switch o.State {
	case observe.RolloutDone:
		return t.complete(ref, r, int(o.Desired), now)
	case observe.RolloutPaused, observe.RolloutHeld, observe.RolloutZero:
		return t.end(ref, r, done, now, cmp.Or(o.Why, "scaled to 0"))
	}
	r.complete = time.Time{}
	log := failed(pods)
	if o.State == observe.RolloutStuck && (r.phase != done || log != nil) {
		r.ready, r.desired, r.crashed = ready, int(o.Desired), r.crashed || log != nil
		updates := t.end(ref, r, stuck, now, o.Why)
		if len(updates) > 0 {
			updates[0].Log = log
		}
		return updates
	}
	if r.phase == done || r.phase == stuck { // it goes on in between
		return nil
	}
	r.why = ""
	if o.Level >= observe.Warn {
		r.why = o.Why
	}
	return t.progress(ref, r, ready, int(o.Desired), now)
}

// complete says that all pods are new and ready.
func (t *Tracker) complete(ref observe.Ref, r *roll, desired int, now time.Time) []Update {
	if r.complete.IsZero() {
		r.complete = now
	}
	if r.crashed && now.Sub(r.complete) < steady {
		return nil
	}
	r.ready, r.desired = desired, desired
	return t.end(ref, r, done, now, "ready")
}

// progress says how many pods are ready, if that has changed.
func (t *Tracker) progress(ref observe.Ref, r *roll, ready, desired int, now time.Time) []Update {
	if r.phase == rolling && r.ready == ready && r.desired == desired {
		return nil
	}
	r.phase, r.ready, r.desired = rolling, ready, desired
	return []Update{{Text: t.line(ref, r, now, r.why), Progress: true}}
}

// end says that a workload has got to a phase in which it stays, unless that has been said.
func (t *Tracker) end(ref observe.Ref, r *roll, to phase, now time.Time, why string) []Update {
	if r.phase == to {
		return nil
	}
	r.phase, r.ended, r.why = to, now, why
	return []Update{{Text: t.line(ref, r, now, why)}}
}

func (t *Tracker) drop(ref observe.Ref, r *roll, now time.Time, why string) []Update {
	delete(t.rolls, ref)
	if r.phase == done {
		return nil
	}
	return []Update{{Text: t.line(ref, r, now, why)}}
}

// line is what is said of a workload: name, image, pods, time since the build, and words.
func (t *Tracker) line(ref observe.Ref, r *roll, now time.Time, words string) string {
	if r.phase == stuck || r.phase == done {
		now = r.ended
	}
	text := fmt.Sprintf("%s  %s  %d/%d pods  %.1f s", title(ref, t.namespace), r.build.Title(), r.ready, r.desired, max(0, now.Sub(r.build.At)).Seconds())
	if words != "" {
		text += "  " + words
	}
	return text
}

// podsFor returns the pods of a workload that were made for a build.
func podsFor(s *observe.Snapshot, o *observe.Rollout, id string) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, revision := range observe.Revisions(s, o) {
		for _, p := range revision.Pods {
			if p.Annotations[Annotation] == id && p.DeletionTimestamp == nil {
				pods = append(pods, p)
			}
		}
	}
	return pods
}

// failed returns the log of a container that ended with an error; nil if there is none.
func failed(pods []*corev1.Pod) *Log {
	for _, p := range pods {
		if container, previous, found := Failed(p); found {
			return &Log{observe.LogSource{Namespace: p.Namespace, Pod: p.Name, Container: container}, previous}
		}
	}
	return nil
}
