package observe

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// RolloutState is the state of a rollout.
type RolloutState string

// The states of a rollout.
const (
	RolloutDone        RolloutState = "Complete"
	RolloutProgressing RolloutState = "Progressing"
	RolloutStuck       RolloutState = "Stuck"       // it will not continue by itself
	RolloutUnavailable RolloutState = "Unavailable" // rolled out, but too few pods are available
	RolloutPaused      RolloutState = "Paused"
	RolloutHeld        RolloutState = "Held" // by a partition, or waiting for pods to be deleted (OnDelete)
	RolloutZero        RolloutState = "Scaled to 0"
)

// Kinds that roll out.
const (
	KindDeployment  = "Deployment"
	KindStatefulSet = "StatefulSet"
	KindDaemonSet   = "DaemonSet"
)

// Rollout is a Deployment, StatefulSet or DaemonSet, and how far its newest template is rolled out.
type Rollout struct {
	Kind, Namespace, Name string
	UID                   types.UID
	Object                metav1.Object // the trimmed object of the snapshot
	Template              *corev1.PodTemplateSpec
	Selector              *metav1.LabelSelector

	Strategy  string // "RollingUpdate 25%/25%", "Recreate", "OnDelete"
	Partition int32  // StatefulSet: pods below stay on the old revision
	Paused    bool

	Desired, Current, Updated, Ready, Available int32
	Revision                                    int64

	State   RolloutState
	Level   Level
	Why     string // why it is not complete
	Started time.Time
	Created time.Time
}

// Unavailable returns how many of the desired pods are not available.
func (r *Rollout) Unavailable() int32 { return max(0, r.Desired-r.Available) }

// Moving reports whether the rollout is neither complete nor scaled to zero: then the overview lists it.
func (r *Rollout) Moving() bool { return r.State != RolloutDone && r.State != RolloutZero }

// Key returns kind/namespace/name.
func (r *Rollout) Key() string { return r.Kind + "/" + r.Namespace + "/" + r.Name }

// Rollouts returns every Deployment, StatefulSet and DaemonSet of a snapshot, ordered by namespace, name and kind.
func Rollouts(s *Snapshot, now time.Time) []Rollout {
	out := make([]Rollout, 0, len(s.Deployments)+len(s.StatefulSets)+len(s.DaemonSets))
	for _, d := range s.Deployments {
		out = append(out, deployment(s, d, now))
	}
	for _, d := range s.StatefulSets {
		out = append(out, statefulSet(s, d, now))
	}
	for _, d := range s.DaemonSets {
		out = append(out, daemonSet(s, d, now))
	}
	slices.SortFunc(out, func(a, b Rollout) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

func newRollout(kind string, o metav1.Object, t *corev1.PodTemplateSpec, sel *metav1.LabelSelector) Rollout {
	return Rollout{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), Object: o, Template: t,
		Selector: sel, Created: o.GetCreationTimestamp().Time, Started: o.GetCreationTimestamp().Time}
}

func deployment(s *Snapshot, d *appsv1.Deployment, now time.Time) Rollout {
	r := newRollout(KindDeployment, d, &d.Spec.Template, d.Spec.Selector)
	r.Strategy = string(d.Spec.Strategy.Type)
	if u := d.Spec.Strategy.RollingUpdate; u != nil && u.MaxSurge != nil && u.MaxUnavailable != nil {
		r.Strategy += fmt.Sprintf(" +%s −%s", u.MaxSurge, u.MaxUnavailable)
	}
	r.Paused, r.Desired = d.Spec.Paused, replicas(d.Spec.Replicas)
	r.Current, r.Updated, r.Ready, r.Available = d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas
	r.Revision, _ = strconv.ParseInt(d.Annotations["deployment.kubernetes.io/revision"], 10, 64)
	newest := NewestReplicaSet(s, d)
	if newest != nil {
		r.Started = newest.CreationTimestamp.Time
	}
	observed := d.Status.ObservedGeneration >= d.Generation
	if !observed {
		r.Updated = 0
	}
	r.judge(observed && r.Updated >= r.Desired && r.Current <= r.Updated)
	if r.State != RolloutProgressing && r.State != RolloutUnavailable {
		return r
	}
	for _, c := range d.Status.Conditions {
		switch {
		case c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue:
			r.stuck(createFailure(c.Message))
			return r
		case c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && r.State == RolloutProgressing:
			r.stuck("no progress for " + span(now.Sub(c.LastTransitionTime.Time)+deadline(d)))
		}
	}
	var newPods, oldPods []*corev1.Pod
	for _, rs := range s.ReplicaSetsOf(d.UID) {
		if newest != nil && rs.UID == newest.UID {
			newPods = s.PodsOf(rs.UID)
		} else {
			oldPods = append(oldPods, s.PodsOf(rs.UID)...)
		}
	}
	r.blame(newPods, oldPods, now)
	return r
}

func deadline(d *appsv1.Deployment) time.Duration {
	if d.Spec.ProgressDeadlineSeconds != nil {
		return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
	}
	return 10 * time.Minute
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func statefulSet(s *Snapshot, d *appsv1.StatefulSet, now time.Time) Rollout {
	r := newRollout(KindStatefulSet, d, &d.Spec.Template, d.Spec.Selector)
	r.Strategy, r.Desired = string(d.Spec.UpdateStrategy.Type), replicas(d.Spec.Replicas)
	if u := d.Spec.UpdateStrategy.RollingUpdate; u != nil && u.Partition != nil {
		r.Partition = *u.Partition
	}
	r.Current, r.Updated, r.Ready, r.Available = d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas
	if d.Status.UpdateRevision == d.Status.CurrentRevision && d.Status.ObservedGeneration >= d.Generation {
		r.Updated = r.Current // the controller leaves the count at zero when there is one revision
	}
	r.revision(s, d.Status.UpdateRevision)
	pods := s.PodsOf(d.UID)
	r.judgeSet(d.Status.ObservedGeneration >= d.Generation)
	if r.State == RolloutProgressing || r.State == RolloutUnavailable {
		r.refused(s)
		r.blame(withHash(pods, d.Status.UpdateRevision, true), withHash(pods, d.Status.UpdateRevision, false), now)
	}
	return r
}

func daemonSet(s *Snapshot, d *appsv1.DaemonSet, now time.Time) Rollout {
	r := newRollout(KindDaemonSet, d, &d.Spec.Template, d.Spec.Selector)
	r.Strategy, r.Desired = string(d.Spec.UpdateStrategy.Type), d.Status.DesiredNumberScheduled
	if u := d.Spec.UpdateStrategy.RollingUpdate; u != nil && u.MaxUnavailable != nil {
		r.Strategy += " −" + u.MaxUnavailable.String()
	}
	r.Current, r.Updated, r.Ready, r.Available = d.Status.CurrentNumberScheduled, d.Status.UpdatedNumberScheduled, d.Status.NumberReady, d.Status.NumberAvailable
	newest := newestRevision(s.RevisionsOf(d.UID))
	if newest != nil {
		r.Revision, r.Started = newest.Revision, newest.CreationTimestamp.Time
	}
	r.judgeSet(d.Status.ObservedGeneration >= d.Generation)
	if r.Desired == 0 && r.State == RolloutZero {
		r.Why = "no node matches"
	}
	if r.State == RolloutProgressing || r.State == RolloutUnavailable {
		r.refused(s)
		hash := ""
		if newest != nil {
			hash = newest.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
		}
		pods := s.PodsOf(d.UID)
		r.blame(withHash(pods, hash, true), withHash(pods, hash, false), now)
	}
	return r
}

func newestRevision(list []*appsv1.ControllerRevision) *appsv1.ControllerRevision {
	var newest *appsv1.ControllerRevision
	for _, c := range list {
		if newest == nil || c.Revision > newest.Revision {
			newest = c
		}
	}
	return newest
}

func (r *Rollout) revision(s *Snapshot, name string) {
	for _, c := range s.RevisionsOf(r.UID) {
		if c.Name == name {
			r.Revision, r.Started = c.Revision, c.CreationTimestamp.Time
		}
	}
}

// judge sets the state. rolled means that every desired pod has the newest template and no other pod is left.
func (r *Rollout) judge(rolled bool) {
	switch {
	case r.Paused && !rolled:
		r.State, r.Level = RolloutPaused, Warn
		r.Why = fmt.Sprintf("paused with %d of %d pods updated", r.Updated, r.Desired)
	case r.Paused:
		r.State, r.Level, r.Why = RolloutPaused, Warn, "paused: changes of the template wait"
	case r.Desired == 0 && r.Current == 0:
		r.State, r.Level = RolloutZero, Idle
	case !rolled:
		r.State, r.Level = RolloutProgressing, Busy
		r.Why = fmt.Sprintf("%d of %d pods updated", r.Updated, r.Desired)
		if r.Updated >= r.Desired {
			r.Why = fmt.Sprintf("%d old pods to go", max(0, r.Current-r.Updated))
		}
	case r.Available < r.Desired:
		r.State, r.Level = RolloutUnavailable, Warn
		r.Why = fmt.Sprintf("%d of %d pods available", r.Available, r.Desired)
		if r.Available == 0 {
			r.Level = Bad
		}
	default:
		r.State, r.Level = RolloutDone, Good
	}
}

// judgeSet is judge for StatefulSets and DaemonSets, which may be configured to hold pods back.
func (r *Rollout) judgeSet(observed bool) {
	if !observed {
		r.judge(false)
		return
	}
	rolled := r.Updated >= r.Desired && r.Current <= max(r.Desired, r.Updated)
	r.judge(rolled)
	if rolled || r.State != RolloutProgressing {
		return
	}
	switch {
	case r.Strategy == "OnDelete":
		r.State, r.Level = RolloutHeld, Warn
		r.Why = fmt.Sprintf("OnDelete: %d pods stay old until they are deleted", r.Desired-r.Updated)
	case r.Partition > 0 && r.Updated >= r.Desired-r.Partition && r.Available >= r.Desired:
		r.State, r.Level = RolloutHeld, Warn
		r.Why = fmt.Sprintf("held by partition %d: %d of %d pods updated", r.Partition, r.Updated, r.Desired)
	}
}

func (r *Rollout) stuck(why string) { r.State, r.Level, r.Why = RolloutStuck, Bad, why }

// refused looks for events about pods that could not be created: StatefulSets and DaemonSets have no condition for that.
func (r *Rollout) refused(s *Snapshot) {
	events := s.EventsOf(r.UID)
	if len(events) == 0 {
		return
	}
	last := events[len(events)-1]
	if last.Type == corev1.EventTypeWarning && last.Reason == "FailedCreate" {
		r.stuck(createFailure(last.Message))
	}
}

// blame names the pod that holds the rollout up: a new one that fails, else an old one that does not end.
func (r *Rollout) blame(newPods, oldPods []*corev1.Pod, now time.Time) {
	if p, st := worst(newPods, now); p != nil && st.Level >= Warn {
		why := st.Why
		if why == "" {
			why = st.Text
		}
		why += " (" + p.Name + ")"
		if st.Level == Bad {
			if r.State == RolloutStuck {
				r.Why = why + ", " + r.Why
				return
			}
			r.stuck(why)
			return
		}
		r.Level, r.Why = Warn, why
		return
	}
	if r.State == RolloutStuck {
		return
	}
	if p, st := worst(oldPods, now); p != nil && st.Text == "Terminating" && len(oldPods) > 0 && r.Updated >= r.Desired {
		r.Why = fmt.Sprintf("waits for old pod %s to end", p.Name)
		if st.Why != "" {
			r.Level, r.Why = Warn, r.Why+": "+st.Why
		}
	}
}

// worst returns the pod with the highest level, the first by name if there are several.
func worst(pods []*corev1.Pod, now time.Time) (*corev1.Pod, PodState) {
	var out *corev1.Pod
	var state PodState
	for _, p := range pods {
		st := PodStateOf(p, now)
		if out == nil || st.Level > state.Level {
			out, state = p, st
		}
	}
	return out, state
}

func withHash(pods []*corev1.Pod, hash string, equal bool) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range pods {
		h := p.Labels[appsv1.ControllerRevisionHashLabelKey]
		if (h == hash || hash != "" && len(hash) > len(h) && h != "" && hash[len(hash)-len(h):] == h) == equal {
			out = append(out, p)
		}
	}
	return out
}
