package cloudmetrics

import (
	"errors"
	"testing"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/testutil"
)

func TestRequests(t *testing.T) {
	registry := metrics.NewKubeRegistry()
	m, err := New(registry.Register)
	if err != nil {
		t.Fatal(err)
	}
	do := func(request string, result error) (err error) {
		defer m.Time(request)(&err)
		return result
	}
	_ = do("create_volume", nil)
	_ = do("create_volume", errors.New("disk is full"))
	_ = do("delete_volume", nil)
	failed, err := testutil.GetCounterMetricValue(m.errors.WithLabelValues("create_volume"))
	if err != nil || failed != 1 {
		t.Errorf("%v requests failed, want 1; %v", failed, err)
	}
	for request, n := range map[string]uint64{"create_volume": 2, "delete_volume": 1} {
		h, err := testutil.GetHistogramVecFromGatherer(registry, "cloudprovider_kl_api_request_duration_seconds", map[string]string{"request": request})
		if err != nil {
			t.Fatal(err)
		}
		if got := h.GetAggregatedSampleCount(); got != n {
			t.Errorf("%s was timed %d times, want %d", request, got, n)
		}
	}
}

func TestNilRecordsNothing(t *testing.T) {
	var m *Requests
	err := errors.New("no")
	m.Time("create_volume")(&err) // must not panic
}
