package queues

import (
	"sync"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/component-base/metrics"
)

// running is what workers are working on, in all queues. It is the collector of two gauges.
type running struct {
	metrics.BaseStableCollector

	unfinished, longest *metrics.Desc

	mu     sync.Mutex
	queues map[string]*work // by name
}

var _ metrics.StableCollector = (*running)(nil)

func newRunning() *running {
	gauge := func(name, help string) *metrics.Desc {
		return metrics.NewDesc(metrics.BuildFQName("", subsystem, name), help, byName(), nil, metrics.BETA, "")
	}
	return &running{
		unfinished: gauge("unfinished_work_seconds", "How many seconds of work has done that "+
			"is in progress and hasn't been observed by work_duration. Large "+
			"values indicate stuck threads. One can deduce the number of stuck "+
			"threads by observing the rate at which this increases."),
		longest: gauge("longest_running_processor_seconds", "How many seconds has the longest running "+
			"processor for workqueue been running."),
		queues: map[string]*work{},
	}
}

// of returns the work of the queues with that name.
func (r *running) of(name string) *work {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.queues[name]
	if w == nil {
		w = &work{}
		r.queues[name] = w
	}
	return w
}

// DescribeWithStability implements metrics.StableCollector.
func (r *running) DescribeWithStability(ch chan<- *metrics.Desc) {
	ch <- r.unfinished
	ch <- r.longest
}

// CollectWithStability implements metrics.StableCollector. It is called when somebody reads the metrics.
func (r *running) CollectWithStability(ch chan<- metrics.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, w := range r.queues {
		total, longest := w.seconds(time.Now())
		ch <- metrics.NewLazyConstMetric(r.unfinished, metrics.GaugeValue, total, name)
		ch <- metrics.NewLazyConstMetric(r.longest, metrics.GaugeValue, longest, name)
	}
}

// work is when each of the items was begun that workers of a queue have.
type work struct {
	mu    sync.Mutex
	began []time.Time // in order
}

func (w *work) begin(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.began = append(w.began, now)
}

// end forgets the item that was begun closest to a time: a queue says how long a worker had it, not which one it was.
func (w *work) end(began time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	closest := -1
	for i, b := range w.began {
		if closest < 0 || b.Sub(began).Abs() < w.began[closest].Sub(began).Abs() {
			closest = i
		}
	}
	if closest >= 0 {
		w.began = append(w.began[:closest], w.began[closest+1:]...)
	}
}

// seconds returns how long the items have taken in total, and the oldest of them.
func (w *work) seconds(now time.Time) (total, longest float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.began {
		age := now.Sub(b).Seconds()
		total, longest = total+age, max(longest, age)
	}
	return total, longest
}

// depth is the number of items that wait in a queue.
type depth struct {
	workqueue.GaugeMetric
	work *work
}

// Dec is called when a worker takes an item.
func (d *depth) Dec() {
	d.GaugeMetric.Dec()
	d.work.begin(time.Now())
}

// duration is how long workers have items.
type duration struct {
	workqueue.HistogramMetric
	work *work
}

// Observe is called when a worker is done with an item.
func (d *duration) Observe(seconds float64) {
	d.HistogramMetric.Observe(seconds)
	d.work.end(time.Now().Add(-time.Duration(seconds * float64(time.Second))))
}
