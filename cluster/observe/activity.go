package observe

import (
	"context"
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Activity is the history of pods and autoscalers since the source started: a sample each period, an hour at most. It is made
// of their objects alone, so every cluster has it. Immutable, like the snapshot it belongs to.
type Activity struct {
	Period   time.Duration
	Restarts map[string][]int32        // of a pod so far, by namespace/name; only pods that ever restarted
	OnNode   map[string][]int32        // of the pods of a node so far, by its name; only where a pod ever restarted
	Scalers  map[string][]ScalerSample // by namespace/name
}

// ScalerSample is an autoscaler at one moment.
type ScalerSample struct {
	Current, Desired int32
	Load             int32 // see ScalerLoad
}

// Pod is the history of a pod's restarts; nil if it never restarted, or a is nil.
func (a *Activity) Pod(namespace, name string) []int32 {
	if a == nil {
		return nil
	}
	return a.Restarts[namespace+"/"+name]
}

// Node is the history of the restarts on a node; nil if there were none, or a is nil.
func (a *Activity) Node(name string) []int32 {
	if a == nil {
		return nil
	}
	return a.OnNode[name]
}

// Scaler is the history of an autoscaler; nil if unknown or a is nil.
func (a *Activity) Scaler(namespace, name string) []ScalerSample {
	if a == nil {
		return nil
	}
	return a.Scalers[namespace+"/"+name]
}

// watchActivity takes a sample of the newest objects every period.
func (s *Source) watchActivity(ctx context.Context) {
	h := activity{period: s.cfg.MetricsEvery}
	every(ctx, func() time.Duration {
		s.mu.Lock()
		ready := len(s.feeds) > 0 && len(s.next.Loading) == 0
		pods, scalers := s.next.Pods, s.next.Autoscalers
		s.mu.Unlock()
		if !ready {
			return time.Second
		}
		a := h.sample(pods, scalers)
		s.update(func(n *Snapshot) { n.Activity = a })
		return s.cfg.MetricsEvery
	})
}

// activity collects samples. What it returns never changes: see keep.
type activity struct {
	period        time.Duration
	sampled       bool // at least once
	pods, onNodes map[string][]int32
	scalers       map[string][]ScalerSample
}

func (h *activity) sample(pods []*corev1.Pod, scalers []*autoscalingv2.HorizontalPodAutoscaler) *Activity {
	podNow, nodeNow := map[string]int32{}, map[string]int32{}
	for _, p := range pods {
		n := int32(0)
		for i := range p.Status.ContainerStatuses {
			n += p.Status.ContainerStatuses[i].RestartCount
		}
		if n > 0 {
			podNow[p.Namespace+"/"+p.Name] = n
			nodeNow[p.Spec.NodeName] += n
		}
	}
	h.pods, h.onNodes = h.counted(h.pods, podNow), h.counted(h.onNodes, nodeNow)
	next := make(map[string][]ScalerSample, len(scalers))
	for _, a := range scalers {
		key := a.Namespace + "/" + a.Name
		next[key] = keep(h.scalers[key], ScalerSample{a.Status.CurrentReplicas, a.Status.DesiredReplicas, ScalerLoad(a)})
	}
	h.scalers, h.sampled = next, true
	return &Activity{Period: h.period, Restarts: h.pods, OnNode: h.onNodes, Scalers: h.scalers}
}

// counted appends the counts of now, and drops the histories of what no longer exists. A history that was not there in the
// last sample begins with 0.
func (h *activity) counted(before map[string][]int32, now map[string]int32) map[string][]int32 {
	next := make(map[string][]int32, len(now))
	for key, n := range now {
		old, known := before[key]
		if !known && h.sampled {
			old = []int32{0}
		}
		next[key] = keep(old, n)
	}
	return next
}

// keep appends a sample and keeps the last hour. Readers of the old slice are not affected: append writes behind its end, or
// into new memory once the array is full.
func keep[T any](s []T, v T) []T {
	s = append(s, v)
	return s[max(0, len(s)-historyLen):]
}

// ScalerLoad returns the value of an autoscaler's metrics in percent of their targets, the highest if there are several. Above
// 100 the autoscaler wants more replicas. It is -1 if nothing has been measured.
func ScalerLoad(h *autoscalingv2.HorizontalPodAutoscaler) int32 {
	most := int32(-1)
	for i, m := range h.Spec.Metrics {
		if i >= len(h.Status.CurrentMetrics) {
			break
		}
		target, now := targetOf(&m), currentOf(&h.Status.CurrentMetrics[i])
		if target == nil || now == nil {
			continue
		}
		switch {
		case target.AverageUtilization != nil && now.AverageUtilization != nil && *target.AverageUtilization > 0:
			most = max(most, *now.AverageUtilization*100 / *target.AverageUtilization)
		case target.AverageValue != nil && now.AverageValue != nil:
			most = max(most, ratio(now.AverageValue, target.AverageValue))
		case target.Value != nil && now.Value != nil:
			most = max(most, ratio(now.Value, target.Value))
		}
	}
	return most
}

func ratio(now, target *resource.Quantity) int32 {
	if target.Sign() <= 0 {
		return -1
	}
	return int32(min(math.MaxInt32, now.AsApproximateFloat64()/target.AsApproximateFloat64()*100))
}

func targetOf(m *autoscalingv2.MetricSpec) *autoscalingv2.MetricTarget {
	switch {
	case m.Resource != nil:
		return &m.Resource.Target
	case m.ContainerResource != nil:
		return &m.ContainerResource.Target
	case m.Pods != nil:
		return &m.Pods.Target
	case m.Object != nil:
		return &m.Object.Target
	case m.External != nil:
		return &m.External.Target
	}
	return nil
}

func currentOf(m *autoscalingv2.MetricStatus) *autoscalingv2.MetricValueStatus {
	switch {
	case m.Resource != nil:
		return &m.Resource.Current
	case m.ContainerResource != nil:
		return &m.ContainerResource.Current
	case m.Pods != nil:
		return &m.Pods.Current
	case m.Object != nil:
		return &m.Object.Current
	case m.External != nil:
		return &m.External.Current
	}
	return nil
}
