package policy

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/klkube/kl/cluster/policy"
)

// watcher keeps copies of the objects that policies depend on.
type watcher struct {
	factory informers.SharedInformerFactory
	cancel  context.CancelFunc
	synced  []cache.InformerSynced
}

// newWatcher prepares informers that call touch when something has changed that matters to the node. Without policies, pods
// of other nodes do not matter: there may be thousands.
func newWatcher(client kubernetes.Interface, node string, touch func(), log *slog.Logger) (*watcher, error) {
	f := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(strip))
	w := &watcher{factory: f, cancel: func() {}}
	policies := f.Networking().V1().NetworkPolicies().Informer()
	for _, i := range []cache.SharedIndexInformer{
		f.Core().V1().Pods().Informer(), f.Core().V1().Namespaces().Informer(), f.Core().V1().Nodes().Informer(), policies,
	} {
		err := i.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
			if ctx.Err() == nil {
				log.Warn("watch interrupted", "err", err)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
		touchFor := func(obj any) {
			if pod, ok := obj.(*corev1.Pod); !ok || pod.Spec.NodeName == node || len(policies.GetStore().ListKeys()) > 0 {
				touch()
			}
		}
		reg, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    touchFor,
			DeleteFunc: touchFor,
			UpdateFunc: func(before, after any) {
				if matters(before, after) {
					touchFor(after)
				}
			},
		})
		if err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
		w.synced = append(w.synced, reg.HasSynced)
	}
	return w, nil
}

// start starts the informers and returns when they have listed all objects.
func (w *watcher) start(ctx context.Context) error {
	ctx, w.cancel = context.WithCancel(ctx)
	w.factory.StartWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), w.synced...) {
		return ctx.Err()
	}
	return nil
}

// stop returns when all goroutines of the informers have ended.
func (w *watcher) stop() {
	w.cancel()
	w.factory.Shutdown()
}

// objects returns the current objects. They are shared and must not be modified.
func (w *watcher) objects() (o policy.Objects, err error) {
	core, networking := w.factory.Core().V1(), w.factory.Networking().V1()
	if o.Pods, err = core.Pods().Lister().List(labels.Everything()); err != nil {
		return o, fmt.Errorf("list pods: %w", err)
	}
	if o.Namespaces, err = core.Namespaces().Lister().List(labels.Everything()); err != nil {
		return o, fmt.Errorf("list namespaces: %w", err)
	}
	if o.Nodes, err = core.Nodes().Lister().List(labels.Everything()); err != nil {
		return o, fmt.Errorf("list nodes: %w", err)
	}
	if o.Policies, err = networking.NetworkPolicies().Lister().List(labels.Everything()); err != nil {
		return o, fmt.Errorf("list network policies: %w", err)
	}
	return o, nil
}

// strip removes the fields that policies do not need, which are most of a pod.
func strip(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Pod:
		m := stripMeta(o.ObjectMeta)
		if mirrors := o.Annotations[corev1.MirrorPodAnnotationKey]; mirrors != "" {
			m.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: mirrors}
		}
		return &corev1.Pod{
			ObjectMeta: m,
			Spec: corev1.PodSpec{
				NodeName: o.Spec.NodeName, HostNetwork: o.Spec.HostNetwork,
				Containers: stripContainers(o.Spec.Containers), InitContainers: stripContainers(o.Spec.InitContainers),
			},
			Status: corev1.PodStatus{Phase: o.Status.Phase, PodIP: o.Status.PodIP, PodIPs: o.Status.PodIPs},
		}, nil
	case *corev1.Node:
		return &corev1.Node{
			ObjectMeta: stripMeta(o.ObjectMeta),
			Spec:       corev1.NodeSpec{PodCIDR: o.Spec.PodCIDR, PodCIDRs: o.Spec.PodCIDRs},
			Status:     corev1.NodeStatus{Addresses: o.Status.Addresses},
		}, nil
	}
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	return obj, nil
}

func stripMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, Labels: m.Labels,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}
}

// stripContainers returns the containers that have a named port.
func stripContainers(containers []corev1.Container) []corev1.Container {
	var out []corev1.Container
	for _, c := range containers {
		ports := slices.DeleteFunc(slices.Clone(c.Ports), func(p corev1.ContainerPort) bool { return p.Name == "" })
		if len(ports) > 0 {
			out = append(out, corev1.Container{Ports: ports, RestartPolicy: c.RestartPolicy})
		}
	}
	return out
}

// matters reports whether an update can change a verdict. Most updates of pods and nodes are of status, which cannot.
func matters(before, after any) bool {
	switch a := after.(type) {
	case *corev1.Pod:
		b, ok := before.(*corev1.Pod)
		return !ok || a.UID != b.UID || a.Spec.NodeName != b.Spec.NodeName || !maps.Equal(a.Labels, b.Labels) ||
			finished(a) != finished(b) || a.Status.PodIP != b.Status.PodIP || !slices.Equal(a.Status.PodIPs, b.Status.PodIPs) ||
			(a.DeletionTimestamp == nil) != (b.DeletionTimestamp == nil)
	case *corev1.Namespace:
		b, ok := before.(*corev1.Namespace)
		return !ok || !maps.Equal(a.Labels, b.Labels)
	case *corev1.Node:
		b, ok := before.(*corev1.Node)
		return !ok || !slices.Equal(a.Status.Addresses, b.Status.Addresses) || a.Spec.PodCIDR != b.Spec.PodCIDR
	}
	return true
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}
