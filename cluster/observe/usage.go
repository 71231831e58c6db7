package observe

import (
	"context"
	"errors"
	"math"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// historyLen is an hour at the default period of 15 s.
const historyLen = 240

// Sample is CPU and memory at one moment.
type Sample struct {
	MilliCPU int32
	KiB      uint32
}

// Bytes is the memory of a sample.
func (s Sample) Bytes() int64 { return int64(s.KiB) << 10 }

// Series is the history of one pod or node, oldest first, one sample each period. A sample below zero is a gap.
type Series []Sample

// Last is the newest sample.
func (s Series) Last() (Sample, bool) {
	if len(s) == 0 || s[len(s)-1].MilliCPU < 0 {
		return Sample{}, false
	}
	return s[len(s)-1], true
}

// Usage is the CPU and memory of the last hour according to metrics.k8s.io. Immutable, like the snapshot it belongs to.
type Usage struct {
	Taken  time.Time
	Period time.Duration
	Err    string            // why the last poll failed
	Nodes  map[string]Series // by name
	Pods   map[string]Series // by namespace/name; all containers together
}

// Pod is the history of a pod; nil if unknown or u is nil.
func (u *Usage) Pod(namespace, name string) Series {
	if u == nil {
		return nil
	}
	return u.Pods[namespace+"/"+name]
}

// Node is the history of a node; nil if unknown or u is nil.
func (u *Usage) Node(name string) Series {
	if u == nil {
		return nil
	}
	return u.Nodes[name]
}

// pollUsage asks metrics.k8s.io every period. A server without it is asked less often.
func (s *Source) pollUsage(ctx context.Context) {
	h := &history{nodes: map[string]Series{}, pods: map[string]Series{}, period: s.cfg.MetricsEvery}
	every(ctx, func() time.Duration {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err := s.sample(ctx, h)
		if ctx.Err() != nil && err != nil {
			err = ctx.Err()
		}
		u := h.usage(err)
		s.update(func(n *Snapshot) { n.Usage = u })
		if apierrors.IsNotFound(err) || apierrors.IsServiceUnavailable(err) {
			return min(4*time.Second, s.cfg.MetricsEvery) // a new cluster has metrics soon
		}
		if apierrors.IsForbidden(err) {
			return max(refusedEvery, s.cfg.MetricsEvery)
		}
		return s.cfg.MetricsEvery
	})
}

func (s *Source) sample(ctx context.Context, h *history) error {
	var nodes *metricsv1beta1.NodeMetricsList
	nodeErr := errors.New("refused a moment ago")
	if time.Since(h.nodesRefused) > refusedEvery {
		if nodes, nodeErr = s.metrics.MetricsV1beta1().NodeMetricses().List(ctx, metav1.ListOptions{}); apierrors.IsForbidden(nodeErr) {
			h.nodesRefused = time.Now()
		}
	}
	s.mu.Lock()
	namespace := s.next.Only
	s.mu.Unlock()
	pods, err := s.metrics.MetricsV1beta1().PodMetricses(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	h.begin()
	if nodeErr == nil { // a user may see the pods of a namespace and no nodes
		for i := range nodes.Items {
			h.add(h.nodes, nodes.Items[i].Name, Sample{
				MilliCPU: int32(nodes.Items[i].Usage.Cpu().MilliValue()), KiB: kib(nodes.Items[i].Usage.Memory().Value())})
		}
	}
	for i := range pods.Items {
		var sum Sample
		for j := range pods.Items[i].Containers {
			c := &pods.Items[i].Containers[j]
			sum.MilliCPU += int32(c.Usage.Cpu().MilliValue())
			sum.KiB += kib(c.Usage.Memory().Value())
		}
		h.add(h.pods, pods.Items[i].Namespace+"/"+pods.Items[i].Name, sum)
	}
	h.end(time.Now())
	return nil
}

// history collects samples. The Usages it returns never change: see keep.
type history struct {
	nodes, pods map[string]Series
	period      time.Duration
	seen        map[string]bool
	taken       time.Time

	nodesRefused time.Time // when the metrics of nodes were
}

func (h *history) begin() { h.seen = map[string]bool{} }

func (h *history) add(m map[string]Series, name string, v Sample) {
	m[name] = keep(m[name], v)
	h.seen[name] = true
}

// end drops the histories of pods and nodes that no longer exist.
func (h *history) end(now time.Time) {
	for _, m := range []map[string]Series{h.nodes, h.pods} {
		for k := range m {
			if !h.seen[k] {
				delete(m, k)
			}
		}
	}
	h.taken = now
}

func (h *history) usage(err error) *Usage {
	u := &Usage{Taken: h.taken, Period: h.period,
		Nodes: make(map[string]Series, len(h.nodes)), Pods: make(map[string]Series, len(h.pods))}
	for k, v := range h.nodes {
		u.Nodes[k] = v
	}
	for k, v := range h.pods {
		u.Pods[k] = v
	}
	switch {
	case err == nil:
	case apierrors.IsNotFound(err):
		u.Err = "this cluster serves no metrics.k8s.io (no metrics-server)"
	case apierrors.IsForbidden(err):
		u.Err = "not allowed to read metrics.k8s.io"
	case apierrors.IsServiceUnavailable(err):
		u.Err = "metrics.k8s.io is not ready yet"
	default:
		u.Err = shortError(err)
	}
	return u
}

// every calls f repeatedly, each time after the delay that the previous call returned, until ctx is done.
func every(ctx context.Context, f func() time.Duration) {
	for {
		timer := time.NewTimer(f())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// kib converts bytes to KiB. Samples have small numbers because there are an hour of them for each of thousands of pods.
func kib(bytes int64) uint32 { return uint32(min(max(0, bytes>>10), math.MaxUint32)) }
