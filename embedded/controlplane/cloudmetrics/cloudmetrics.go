// Package cloudmetrics counts and times kl's operations as a cloud provider: on nodes, load balancers and volumes. The metrics
// have the names that other cloud providers use. Those of the control plane are among the API server's:
//
//	kl kubectl get --raw /metrics | grep cloudprovider_kl
//
// Each operation times itself:
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

// New registers the metrics with register, which is legacyregistry.Register in a program. Call it once a process: a second
// registration is an error.
func New(register func(metrics.Registerable) error) (*Requests, error) {
	m := &Requests{
		seconds: metrics.NewHistogramVec(&metrics.HistogramOpts{
			Name:           "cloudprovider_kl_api_request_duration_seconds",
			Help:           "Latency of kl's operations as a cloud provider, in seconds",
			Buckets:        []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
			StabilityLevel: metrics.ALPHA,
		}, []string{"request"}),
		errors: metrics.NewCounterVec(&metrics.CounterOpts{
			Name:           "cloudprovider_kl_api_request_errors",
			Help:           "Failed operations of kl as a cloud provider",
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

// Time begins to time a request, such as create_volume. The returned function ends it and records the error at err.
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
