package controlplane

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/klkube/kl/cluster"
)

// dnsTail is how long after the first answer the news may take that the pod which gave it is ready.
const dnsTail = time.Second

// addMoment notes that something has happened now, unless it had before.
func addMoment(s *cluster.Status, name string) {
	if slices.ContainsFunc(s.Moments, func(m cluster.Moment) bool { return m.Name == name }) {
		return
	}
	s.Moments = append(slices.Clone(s.Moments), cluster.Moment{Name: name, At: time.Since(s.Started).Seconds()})
}

// traceDNS notes the moments of CoreDNS's pods as it sees them, since the API has whole seconds only, until DNS answers.
func (o *observer) traceDNS(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started := o.status.Load().Started
	note := func(obj any) {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return
		}
		if names := dnsMoments(pod, started); len(names) > 0 {
			o.status.edit(func(s *cluster.Status) {
				for _, name := range names {
					addMoment(s, name)
				}
			})
		}
	}
	lw := cache.NewFilteredListWatchFromClient(o.client.CoreV1().RESTClient(), "pods", metav1.NamespaceSystem,
		func(o *metav1.ListOptions) { o.LabelSelector = "k8s-app=kube-dns" })
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: lw, ObjectType: &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, pod any) { note(pod) }},
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		informer.RunWithContext(ctx)
	}()
	if _, err := o.status.Wait(ctx, func(s cluster.Status) bool { return s.Ready.DNS }); err == nil {
		tail, stop := context.WithTimeout(ctx, dnsTail)
		_, _ = o.status.Wait(tail, func(s cluster.Status) bool {
			return slices.ContainsFunc(s.Moments, func(m cluster.Moment) bool { return m.Name == cluster.DNSReady })
		})
		stop()
	}
	cancel()
	<-done
}

// dnsMoments names what has happened to a pod since the control plane started: the status of one that is older says for a while what
// was true before.
func dnsMoments(p *corev1.Pod, started time.Time) []string {
	since := started.Truncate(time.Second)
	recent := func(t metav1.Time) bool { return !t.IsZero() && !t.Time.Before(since) }
	condition := func(kind corev1.PodConditionType) bool {
		return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == kind && c.Status == corev1.ConditionTrue && recent(c.LastTransitionTime)
		})
	}
	var names []string
	if recent(p.CreationTimestamp) {
		names = append(names, cluster.DNSPod)
	}
	if condition(corev1.PodScheduled) {
		names = append(names, cluster.DNSScheduled)
	}
	if slices.ContainsFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil && recent(c.State.Running.StartedAt)
	}) {
		names = append(names, cluster.DNSRunning)
	}
	if condition(corev1.PodReady) {
		names = append(names, cluster.DNSReady)
	}
	return names
}
