package observe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// kind is one sort of object that a snapshot holds.
type kind struct {
	name     string // plural
	informer func(informers.SharedInformerFactory) cache.SharedIndexInformer
	set      func(*Snapshot, []any)
	later    bool // deferred until the others are listed
}

// kinds returns what is watched. Events are deferred: there are more of them than of anything else, and listing them together
// with the pods would double the time to the first full screen.
func kinds() []kind {
	type f = informers.SharedInformerFactory
	return []kind{
		{"nodes", func(f f) cache.SharedIndexInformer { return f.Core().V1().Nodes().Informer() },
			func(s *Snapshot, l []any) { s.Nodes = sorted(l, s.Nodes) }, false},
		{"namespaces", func(f f) cache.SharedIndexInformer { return f.Core().V1().Namespaces().Informer() },
			func(s *Snapshot, l []any) { s.Namespaces = sorted(l, s.Namespaces) }, false},
		{"pods", func(f f) cache.SharedIndexInformer { return f.Core().V1().Pods().Informer() },
			func(s *Snapshot, l []any) { s.Pods = sorted(l, s.Pods) }, false},
		{"deployments", func(f f) cache.SharedIndexInformer { return f.Apps().V1().Deployments().Informer() },
			func(s *Snapshot, l []any) { s.Deployments = sorted(l, s.Deployments) }, false},
		{"statefulsets", func(f f) cache.SharedIndexInformer { return f.Apps().V1().StatefulSets().Informer() },
			func(s *Snapshot, l []any) { s.StatefulSets = sorted(l, s.StatefulSets) }, false},
		{"daemonsets", func(f f) cache.SharedIndexInformer { return f.Apps().V1().DaemonSets().Informer() },
			func(s *Snapshot, l []any) { s.DaemonSets = sorted(l, s.DaemonSets) }, false},
		{"replicasets", func(f f) cache.SharedIndexInformer { return f.Apps().V1().ReplicaSets().Informer() },
			func(s *Snapshot, l []any) { s.ReplicaSets = sorted(l, s.ReplicaSets) }, false},
		{"controllerrevisions", func(f f) cache.SharedIndexInformer { return f.Apps().V1().ControllerRevisions().Informer() },
			func(s *Snapshot, l []any) { s.ControllerRevisions = sorted(l, s.ControllerRevisions) }, true},
		{"events", func(f f) cache.SharedIndexInformer { return f.Core().V1().Events().Informer() },
			func(s *Snapshot, l []any) { s.Events = sorted(l, s.Events); sortEvents(s) }, true},
		{"networkpolicies", func(f f) cache.SharedIndexInformer { return f.Networking().V1().NetworkPolicies().Informer() },
			func(s *Snapshot, l []any) { s.Policies = sorted(l, s.Policies) }, false},
		{"horizontalpodautoscalers", func(f f) cache.SharedIndexInformer { return f.Autoscaling().V2().HorizontalPodAutoscalers().Informer() },
			func(s *Snapshot, l []any) { s.Autoscalers = sorted(l, s.Autoscalers) }, false},
		{"poddisruptionbudgets", func(f f) cache.SharedIndexInformer { return f.Policy().V1().PodDisruptionBudgets().Informer() },
			func(s *Snapshot, l []any) { s.Budgets = sorted(l, s.Budgets) }, false},
	}
}

func kindNames() []string {
	var out []string
	for _, k := range kinds() {
		out = append(out, k.name)
	}
	return out
}

// sorted converts a store's list and orders it by namespace and name. The second argument only determines the type.
func sorted[T metav1.Object](list []any, _ []T) []T {
	out := make([]T, 0, len(list))
	for _, o := range list {
		if t, ok := o.(T); ok {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// sortEvents orders events by time.
func sortEvents(s *Snapshot) {
	slices.SortStableFunc(s.Events, func(a, b *corev1.Event) int { return EventTime(a).Compare(EventTime(b)) })
}

// feed follows one kind.
type feed struct {
	kind     kind
	informer cache.SharedIndexInformer // the present one, guarded by Source.mu
	dirty    atomic.Bool
	refused  atomic.Bool // forbidden, or not served
}

// refusedEvery is how often a refused kind is asked for again: rights are granted, and definitions are made, at any time.
const refusedEvery = time.Minute

// observe runs a set of informers until ctx is done or a restart is requested. The snapshot keeps the data of the previous set
// until the new lists have arrived.
func (s *Source) observe(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	namespace := s.next.Only
	s.feeds = nil
	for _, k := range kinds() {
		f := &feed{kind: k, informer: s.informer(k, namespace)}
		f.refused.Store(slices.Contains(s.next.Forbidden, k.name) && ofCluster(k.name))
		s.feeds = append(s.feeds, f)
	}
	feeds := s.feeds
	s.mu.Unlock()
	var wg sync.WaitGroup
	listed := make(chan struct{})
	for _, f := range feeds {
		wg.Go(func() {
			if f.kind.later {
				select {
				case <-listed:
				case <-ctx.Done():
				}
			}
			s.follow(ctx, f, namespace)
		})
	}
	wg.Go(func() {
		s.awaitFirst(ctx, feeds)
		s.fallBack(feeds)
		close(listed)
	})
	select {
	case <-ctx.Done():
	case <-s.restart:
	}
	cancel()
	wg.Wait()
}

// informer returns an informer that has not been started.
func (s *Source) informer(k kind, namespace string) cache.SharedIndexInformer {
	return k.informer(informers.NewSharedInformerFactoryWithOptions(s.client, 0, informers.WithTransform(trim), informers.WithNamespace(namespace)))
}

// follow runs informers for a kind until ctx is done. An informer alone would ask again every few seconds for what is refused.
func (s *Source) follow(ctx context.Context, f *feed, namespace string) {
	if !f.refused.Load() { // else it was when the source restarted
		s.runInformer(ctx, f)
	}
	for ctx.Err() == nil {
		timer := time.NewTimer(refusedEvery)
		select {
		case <-ctx.Done():
		case <-timer.C:
			s.mu.Lock()
			f.informer = s.informer(f.kind, namespace)
			s.mu.Unlock()
			s.runInformer(ctx, f)
		}
		timer.Stop()
	}
}

// runInformer runs the feed's informer until ctx is done or its kind is refused.
func (s *Source) runInformer(ctx context.Context, f *feed) {
	ctx, stop := context.WithCancel(ctx)
	informer := f.informer
	s.arm(f, informer, stop)
	var wg sync.WaitGroup
	wg.Go(func() {
		cache.WaitForCacheSync(ctx.Done(), informer.HasSynced)
		f.dirty.Store(true)
		s.touch()
	})
	informer.RunWithContext(ctx)
	stop()
	wg.Wait()
}

// awaitFirst returns when all kinds that are not deferred are listed or refused, after a timeout, or when ctx is done.
func (s *Source) awaitFirst(ctx context.Context, feeds []*feed) {
	const interval, timeout = 20 * time.Millisecond, 10 * time.Second
	pending := func(f *feed) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !f.kind.later && !f.informer.HasSynced() && !f.refused.Load()
	}
	// An error is the timeout or the end of ctx: either way there is no more waiting.
	_ = wait.PollUntilContextTimeout(ctx, interval, timeout, true, func(context.Context) (bool, error) {
		return !slices.ContainsFunc(feeds, pending), nil
	})
}

// arm makes an informer mark its feed as changed, and stop when the kind is refused.
func (s *Source) arm(f *feed, informer cache.SharedIndexInformer, stop func()) {
	mark := func() {
		f.dirty.Store(true)
		s.touch()
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { mark() },
		UpdateFunc: func(_, _ any) { mark() },
		DeleteFunc: func(any) { mark() },
	})
	if err != nil {
		s.log.Error("add event handler", "kind", f.kind.name, "err", err)
	}
	err = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
			f.refused.Store(true)
			stop()
			mark()
			return
		}
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return // the reflector lists again
		}
		s.log.Debug("watch", "kind", f.kind.name, "err", err)
		select {
		case s.probe <- struct{}{}:
		default:
		}
	})
	if err != nil {
		s.log.Error("set watch error handler", "kind", f.kind.name, "err", err)
	}
}

// fallBack limits the source to the namespace that Config names if the pods of all are refused.
func (s *Source) fallBack(feeds []*feed) {
	refused := slices.ContainsFunc(feeds, func(f *feed) bool { return f.kind.name == "pods" && f.refused.Load() })
	s.mu.Lock()
	all := s.next.Only == "" && s.cfg.Fallback != ""
	s.mu.Unlock()
	if refused && all {
		s.Narrow(s.cfg.Fallback)
	}
}

// ofCluster reports whether objects of a kind are in no namespace, so that a refusal holds for every one of them.
func ofCluster(kind string) bool { return kind == "nodes" || kind == "namespaces" }

// Narrow limits the source to one namespace.
func (s *Source) Narrow(namespace string) {
	s.update(func(n *Snapshot) {
		s.collect(n)
		n.Only = namespace
		n.Forbidden = slices.DeleteFunc(slices.Clone(n.Forbidden), func(k string) bool { return !ofCluster(k) })
		n.Loading = slices.DeleteFunc(kindNames(), func(k string) bool { return slices.Contains(n.Forbidden, k) })
		s.feeds = nil // collect nothing of the wider view any more
	})
	select {
	case s.restart <- struct{}{}:
	default: // it is about to restart
	}
}

// collect copies what changed in the informers' stores into n. Callers hold s.mu.
func (s *Source) collect(n *Snapshot) {
	var loading, forbidden []string
	for _, f := range s.feeds {
		synced, refused := f.informer.HasSynced(), f.refused.Load()
		switch {
		case synced && f.dirty.Swap(false):
			f.kind.set(n, f.informer.GetStore().List())
		case refused && !synced:
			forbidden = append(forbidden, f.kind.name)
			if f.dirty.Swap(false) {
				f.kind.set(n, nil) // what was seen while it was allowed
			}
		}
		if !synced && !refused && slices.Contains(n.Loading, f.kind.name) {
			loading = append(loading, f.kind.name)
		}
	}
	if len(s.feeds) > 0 {
		n.Loading, n.Forbidden = loading, forbidden
	}
}

func parseVersion(raw []byte) (string, error) {
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", fmt.Errorf("parse version: %w", err)
	}
	return v.GitVersion, nil
}

// shortError returns why a server does not answer, without the URL, which the header shows already.
func shortError(err error) string {
	var ue *url.Error
	var oe *net.OpError
	switch {
	case errors.As(err, &oe):
		return oe.Err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer within 3 s"
	case errors.As(err, &ue):
		return ue.Err.Error()
	}
	return strings.TrimSpace(err.Error())
}
