// Package queues has the metrics of client-go's work queues, under upstream's names, without a ticker for each queue.
//
// Upstream sets two gauges of every named queue twice a second: how long what is being worked on has taken so far. A control plane has more
// than a hundred queues, whose tickers woke an idle one two hundred times a second. Here those gauges are computed when somebody reads the
// metrics, and are exact then.
//
// It is imported for its effect, and all named queues of the process use it:
//
//	import _ "github.com/klkube/kl/embedded/queues"
package queues

import (
	"runtime"
	"strings"
	"sync"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// Upstream's package registers itself the same way, and the first one counts. Go initializes packages in the order of their paths, each once
// its imports are initialized (https://go.dev/ref/spec#Program_initialization), and this path comes before k8s.io: therefore this package
// must not import anything that k8s.io/component-base/metrics/prometheus/workqueue does not import. TestInUse checks it.
var _ = use(&provider{running: newRunning()})

// use has queues that are made from now on use a provider, unless they use another one already.
func use(p *provider) *provider {
	workqueue.SetProvider(p)
	return p
}

// Metrics of upstream: k8s.io/component-base/metrics/prometheus/workqueue.
const subsystem = "workqueue"

var _ workqueue.MetricsProvider = (*provider)(nil)

// provider makes the metrics of queues. Those of queues with the same name are the same.
type provider struct {
	once     sync.Once
	depth    *metrics.GaugeVec
	adds     *metrics.CounterVec
	retries  *metrics.CounterVec
	latency  *metrics.HistogramVec
	duration *metrics.HistogramVec
	running  *running
}

// register makes the metrics for the first queue.
func (p *provider) register() {
	p.once.Do(func() {
		p.depth = metrics.NewGaugeVec(&metrics.GaugeOpts{
			Subsystem: subsystem, Name: "depth", StabilityLevel: metrics.BETA, Help: "Current depth of workqueue",
		}, byName())
		p.adds = newCounter("adds_total", "Total number of adds handled by workqueue")
		p.retries = newCounter("retries_total", "Total number of retries handled by workqueue")
		p.latency = newHistogram("queue_duration_seconds", "How long in seconds an item stays in workqueue before being requested.")
		p.duration = newHistogram("work_duration_seconds", "How long in seconds processing an item from workqueue takes.")
		for _, m := range []metrics.Registerable{p.depth, p.adds, p.retries, p.latency, p.duration} {
			legacyregistry.MustRegister(m)
		}
		legacyregistry.CustomMustRegister(p.running)
	})
}

// byName are the labels of each metric.
func byName() []string { return []string{"name"} }

func newCounter(name, help string) *metrics.CounterVec {
	return metrics.NewCounterVec(&metrics.CounterOpts{Subsystem: subsystem, Name: name, StabilityLevel: metrics.BETA, Help: help}, byName())
}

func newHistogram(name, help string) *metrics.HistogramVec {
	return metrics.NewHistogramVec(&metrics.HistogramOpts{
		Subsystem: subsystem, Name: name, StabilityLevel: metrics.BETA, Help: help, Buckets: metrics.ExponentialBuckets(10e-9, 10, 10),
	}, byName())
}

// NewDepthMetric implements workqueue.MetricsProvider. A queue decrements its depth when a worker takes an item.
func (p *provider) NewDepthMetric(name string) workqueue.GaugeMetric {
	p.register()
	return &depth{GaugeMetric: p.depth.WithLabelValues(name), work: p.running.of(name)}
}

// NewAddsMetric implements workqueue.MetricsProvider.
func (p *provider) NewAddsMetric(name string) workqueue.CounterMetric {
	p.register()
	return p.adds.WithLabelValues(name)
}

// NewLatencyMetric implements workqueue.MetricsProvider.
func (p *provider) NewLatencyMetric(name string) workqueue.HistogramMetric {
	p.register()
	return p.latency.WithLabelValues(name)
}

// NewWorkDurationMetric implements workqueue.MetricsProvider. A queue observes it when a worker is done with an item.
func (p *provider) NewWorkDurationMetric(name string) workqueue.HistogramMetric {
	p.register()
	return &duration{HistogramMetric: p.duration.WithLabelValues(name), work: p.running.of(name)}
}

// NewUnfinishedWorkSecondsMetric implements workqueue.MetricsProvider.
func (p *provider) NewUnfinishedWorkSecondsMetric(string) workqueue.SettableGaugeMetric {
	return unset{}
}

// NewLongestRunningProcessorSecondsMetric implements workqueue.MetricsProvider.
func (p *provider) NewLongestRunningProcessorSecondsMetric(string) workqueue.SettableGaugeMetric {
	return unset{}
}

// NewRetriesMetric implements workqueue.MetricsProvider.
func (p *provider) NewRetriesMetric(name string) workqueue.CounterMetric {
	p.register()
	return p.retries.WithLabelValues(name)
}

// unset is a gauge that nobody needs to set. It ends the goroutine that does nothing else.
type unset struct{}

// Set ends the calling goroutine if that is the ticker of a queue, which calls it half a second after the queue was made. Its deferred
// calls unlock the queue and have ShutDown not wait for it.
func (unset) Set(float64) {
	callers := make([]uintptr, 8)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, ".updateUnfinishedWorkLoop") {
			runtime.Goexit()
		}
		if !more {
			return
		}
	}
}
