package observetest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
)

// resource is a kind of object that the server serves.
type resource struct {
	gv         schema.GroupVersion
	name, kind string
	short      string
	namespaced bool
}

func served() []resource {
	return []resource{
		{corev1.SchemeGroupVersion, "nodes", "Node", "no", false},
		{corev1.SchemeGroupVersion, "namespaces", "Namespace", "ns", false},
		{corev1.SchemeGroupVersion, "pods", "Pod", "po", true},
		{corev1.SchemeGroupVersion, "events", "Event", "ev", true},
		{corev1.SchemeGroupVersion, "configmaps", "ConfigMap", "cm", true},
		{corev1.SchemeGroupVersion, "secrets", "Secret", "", true},
		{appsv1.SchemeGroupVersion, "deployments", "Deployment", "deploy", true},
		{appsv1.SchemeGroupVersion, "statefulsets", "StatefulSet", "sts", true},
		{appsv1.SchemeGroupVersion, "daemonsets", "DaemonSet", "ds", true},
		{appsv1.SchemeGroupVersion, "replicasets", "ReplicaSet", "rs", true},
		{appsv1.SchemeGroupVersion, "controllerrevisions", "ControllerRevision", "", true},
		{networkingv1.SchemeGroupVersion, "networkpolicies", "NetworkPolicy", "netpol", true},
		{autoscalingv2.SchemeGroupVersion, "horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa", true},
		{policyv1.SchemeGroupVersion, "poddisruptionbudgets", "PodDisruptionBudget", "pdb", true},
	}
}

func (r resource) gvr() schema.GroupVersionResource { return r.gv.WithResource(r.name) }

// store holds objects by resource and sends changes to watchers.
type store struct {
	mu       sync.Mutex
	version  int64
	objects  map[schema.GroupVersionResource]map[string]runtime.Object
	watchers map[schema.GroupVersionResource]map[chan watch.Event]bool
	past     map[schema.GroupVersionResource][]pastEvent // so that no change between a list and its watch is lost
}

type pastEvent struct {
	version int64
	event   watch.Event
}

func newStore() *store {
	s := &store{version: 1, objects: map[schema.GroupVersionResource]map[string]runtime.Object{}, watchers: map[schema.GroupVersionResource]map[chan watch.Event]bool{},
		past: map[schema.GroupVersionResource][]pastEvent{}}
	for _, r := range served() {
		s.objects[r.gvr()] = map[string]runtime.Object{}
		s.watchers[r.gvr()] = map[chan watch.Event]bool{}
	}
	return s
}

// resourceOf finds the resource of a typed object.
func resourceOf(o runtime.Object) (resource, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		return resource{}, err
	}
	for _, r := range served() {
		if slices.Contains(kinds, r.gv.WithKind(r.kind)) {
			return r, nil
		}
	}
	return resource{}, fmt.Errorf("%T is not served", o)
}

func key(m metav1.Object) string { return m.GetNamespace() + "/" + m.GetName() }

// set stores an object under a new resource version and returns it.
func (s *store) set(o runtime.Object) error {
	r, err := resourceOf(o)
	if err != nil {
		return err
	}
	o = o.DeepCopyObject()
	m, err := meta.Accessor(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	m.SetResourceVersion(strconv.FormatInt(s.version, 10))
	o.GetObjectKind().SetGroupVersionKind(r.gv.WithKind(r.kind))
	kind := watch.Added
	if _, ok := s.objects[r.gvr()][key(m)]; ok {
		kind = watch.Modified
	}
	s.objects[r.gvr()][key(m)] = o
	s.tell(r, watch.Event{Type: kind, Object: o})
	return nil
}

func (s *store) remove(r resource, k string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[r.gvr()][k]
	if ok {
		delete(s.objects[r.gvr()], k)
		s.version++
		s.tell(r, watch.Event{Type: watch.Deleted, Object: o})
	}
	return ok
}

// tell sends an event to all watchers. The watch of one that does not keep up ends, as with a real server.
func (s *store) tell(r resource, e watch.Event) {
	s.past[r.gvr()] = append(s.past[r.gvr()], pastEvent{s.version, e})
	for c := range s.watchers[r.gvr()] {
		select {
		case c <- e:
		default:
			delete(s.watchers[r.gvr()], c)
			close(c)
		}
	}
}

func (s *store) get(r resource, k string) (runtime.Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[r.gvr()][k]
	return o, ok
}

// list returns the objects of a namespace (all if empty), ordered by key, and the resource version of the list.
func (s *store) list(r resource, namespace string) ([]runtime.Object, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type item struct {
		key string
		o   runtime.Object
	}
	var items []item
	for k, o := range s.objects[r.gvr()] {
		m, err := meta.Accessor(o)
		if err == nil && (namespace == "" || m.GetNamespace() == namespace) {
			items = append(items, item{k, o})
		}
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.key, b.key) })
	out := make([]runtime.Object, len(items))
	for i, it := range items {
		out[i] = it.o
	}
	return out, s.version
}

// watch returns the events after a version; stop ends it.
func (s *store) watch(r resource, version int64) (events chan watch.Event, stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan watch.Event, 10000+len(s.past[r.gvr()]))
	for _, p := range s.past[r.gvr()] {
		if p.version > version {
			c <- p.event
		}
	}
	s.watchers[r.gvr()][c] = true
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.watchers[r.gvr()][c] {
			delete(s.watchers[r.gvr()], c)
			close(c)
		}
	}
}
