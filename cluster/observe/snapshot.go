package observe

import (
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klkube/kl/cluster"
)

// Snapshot is the state of a cluster at one moment. It is immutable, with everything it points to: objects are shared with
// the informers' caches and with other snapshots. Slices are ordered by namespace and name.
type Snapshot struct {
	Taken   time.Time
	Name    string // of the kl cluster or context
	Server  string // URL of the API server
	Version string // of the API server: v1.36.3; empty until it has answered
	Conn    Connection

	Only      string   // the namespace that is read; empty means all
	Loading   []string // kinds whose first list has not arrived
	Forbidden []string // kinds the user may not list, or that the server does not have

	Nodes               []*corev1.Node
	Namespaces          []*corev1.Namespace
	Pods                []*corev1.Pod
	Events              []*corev1.Event
	Deployments         []*appsv1.Deployment
	StatefulSets        []*appsv1.StatefulSet
	DaemonSets          []*appsv1.DaemonSet
	ReplicaSets         []*appsv1.ReplicaSet
	ControllerRevisions []*appsv1.ControllerRevision
	Autoscalers         []*autoscalingv2.HorizontalPodAutoscaler
	Budgets             []*policyv1.PodDisruptionBudget
	Policies            []*networkingv1.NetworkPolicy

	Usage    *Usage          // CPU and memory with their history; nil until metrics.k8s.io answered
	Traffic  *Traffic        // of pods and nodes with its history; nil until kubelets answered
	Activity *Activity       // restarts and autoscalers with their history; nil until the first sample
	Plane    *Plane          // the control plane's own metrics; nil until /metrics answered
	KL       *cluster.Status // component states of a kl cluster; nil elsewhere
	Disk     *Disk           // what a kl cluster keeps on disk; nil elsewhere

	Verdicts *Verdicts // on real traffic, from kl's nodes; nil elsewhere

	index *index
}

// ConnState is whether the API server answers.
type ConnState int

// The states of a connection.
const (
	Connecting ConnState = iota // no answer yet
	Live                        // the server answers
	Lost                        // it no longer answers: the snapshot is stale
)

func (s ConnState) String() string { return [...]string{"connecting", "live", "lost"}[s] }

// Connection is the state of the connection to the API server.
type Connection struct {
	State ConnState
	Since time.Time // of this state
	Err   string    // the last error, if not Live
	Retry time.Time // next attempt, if not Live
}

// Stale reports whether the snapshot may be out of date, because the connection is lost.
func (s *Snapshot) Stale() bool { return s.Conn.State == Lost }

// Synced reports whether the first list of every kind has arrived.
func (s *Snapshot) Synced() bool { return s.Conn.State != Connecting && len(s.Loading) == 0 }

// Has reports whether a kind (its plural, "pods") has been listed.
func (s *Snapshot) Has(kind string) bool {
	if s.Conn.State == Connecting && s.Version == "" {
		return false
	}
	for _, k := range s.Loading {
		if k == kind {
			return false
		}
	}
	return true
}

// index finds objects by their owner. It is built on first use and shared by all readers of a snapshot.
type index struct {
	once     sync.Once
	podsBy   map[types.UID][]*corev1.Pod
	setsBy   map[types.UID][]*appsv1.ReplicaSet
	revsBy   map[types.UID][]*appsv1.ControllerRevision
	podsOn   map[string][]*corev1.Pod
	eventsOf map[types.UID][]*corev1.Event
}

func (s *Snapshot) idx() *index {
	if s.index == nil { // a literal, as in tests; safe only before it is shared
		s.index = &index{}
	}
	s.index.once.Do(func() { s.index.build(s) })
	return s.index
}

// NewSnapshot returns a snapshot that goroutines may share.
func NewSnapshot(s Snapshot) *Snapshot {
	s.index = &index{}
	return &s
}

func (x *index) build(s *Snapshot) {
	x.podsBy = map[types.UID][]*corev1.Pod{}
	x.podsOn = map[string][]*corev1.Pod{}
	for _, p := range s.Pods {
		if o := metav1.GetControllerOfNoCopy(p); o != nil {
			x.podsBy[o.UID] = append(x.podsBy[o.UID], p)
		}
		if p.Spec.NodeName != "" {
			x.podsOn[p.Spec.NodeName] = append(x.podsOn[p.Spec.NodeName], p)
		}
	}
	x.setsBy = map[types.UID][]*appsv1.ReplicaSet{}
	for _, rs := range s.ReplicaSets {
		if o := metav1.GetControllerOfNoCopy(rs); o != nil {
			x.setsBy[o.UID] = append(x.setsBy[o.UID], rs)
		}
	}
	x.revsBy = map[types.UID][]*appsv1.ControllerRevision{}
	for _, r := range s.ControllerRevisions {
		if o := metav1.GetControllerOfNoCopy(r); o != nil {
			x.revsBy[o.UID] = append(x.revsBy[o.UID], r)
		}
	}
	x.eventsOf = map[types.UID][]*corev1.Event{}
	for _, e := range s.Events {
		x.eventsOf[e.InvolvedObject.UID] = append(x.eventsOf[e.InvolvedObject.UID], e)
	}
}

// PodsOf returns the pods an object controls directly (a ReplicaSet, a StatefulSet, a Job, …).
func (s *Snapshot) PodsOf(uid types.UID) []*corev1.Pod { return s.idx().podsBy[uid] }

// PodsOn returns the pods bound to a node.
func (s *Snapshot) PodsOn(node string) []*corev1.Pod { return s.idx().podsOn[node] }

// ReplicaSetsOf returns the ReplicaSets a Deployment controls.
func (s *Snapshot) ReplicaSetsOf(uid types.UID) []*appsv1.ReplicaSet { return s.idx().setsBy[uid] }

// RevisionsOf returns the ControllerRevisions of a StatefulSet or DaemonSet.
func (s *Snapshot) RevisionsOf(uid types.UID) []*appsv1.ControllerRevision {
	return s.idx().revsBy[uid]
}

// EventsOf returns the events about an object, oldest first.
func (s *Snapshot) EventsOf(uid types.UID) []*corev1.Event { return s.idx().eventsOf[uid] }

// EventTime returns when an event last happened, from whichever of its fields is set.
func EventTime(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	default:
		return e.CreationTimestamp.Time
	}
}
