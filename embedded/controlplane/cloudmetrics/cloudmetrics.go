// Package cloudmetrics counts and times what kl is asked for as a cloud: nodes, load balancers and volumes. The metrics
// are called as other clouds call theirs, and are among those of the process: for the control plane,
//
//	kl kubectl get --raw /metrics | grep cloudprovider_kl
//
// shows them. Every operation is timed at the place that does it:
//
//	func (c *Controller) CreateVolume(ctx context.Context, …) (v *Volume, err error) {
//		defer c.Requests.Time("create_volume")(&err)
//		…
package cloudmetrics

import (
	"fmt"
	"time"

	"k8s.io/component-base/metrics"
)

// Requests are the metrics of one process. A nil *Requests records nothing. It is safe for concurrent use.
type Requests struct {
	seconds *metrics.HistogramVec
	errors  *metrics.CounterVec
}

// New registers the metrics with register, legacyregistry.Register in a program. It is called once a process: a second set
// is refused.
func New(register func(metrics.Registerable) error) (*Requests, error) {
	m := &Requests{
		seconds: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Name:           "cloudprovider_kl_api_request_duration_seconds",
			Help:           "Latency of what kl is asked for as a cloud provider, in seconds",
			Buckets:        []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
			StabilityLevel: metrics.ALPHA,
		}, []string{"request"}),
		errors: metrics.NewCounterVec(&metrics.CounterOpts{
			Name:           "cloudprovider_kl_api_request_errors",
			Help:           "Requests to kl as a cloud provider that failed",
			StabilityLevel: metrics.ALPHA,
		}, []string{"request"}),
	}
	for _, c := range []metrics.Registerable{m.seconds, m.errors} {
		if err := register(c); err != nil {
			return nil, fmt.Errorf("register %s: %w", c.FQName(), err)
		}
	}
	return m, nil
}

// Time begins a request, such as create_volume; the returned function ends it, with the error that err points to then.
func (m *Requests) Time(request string) func(err *error) {
	began := time.Now()
	return func(err *error) { m.Observe(request, time.Since(began), *err) }
}

// Observe records a request that is over.
func (m *Requests) Observe(request string, took time.Duration, err error) {
	if m == nil {
		return
	}
	m.seconds.WithLabelValues(request).Observe(took.Seconds())
	if err != nil {
		m.errors.WithLabelValues(request).Inc()
	}
}
