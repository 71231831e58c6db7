package queues

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/component-base/metrics/legacyregistry"
)

// tickers returns how many goroutines of queues do nothing but set their gauges.
func tickers() int {
	all := make([]byte, 8<<20)
	return strings.Count(string(all[:runtime.Stack(all, true)]), ".updateUnfinishedWorkLoop(")
}

// TestInUse makes named queues as Kubernetes does: none has a ticker for longer than its first tick, none loses an item, and all shut down.
func TestInUse(t *testing.T) {
	const queues, items = 50, 20
	before := gather(t)
	all := make([]workqueue.TypedRateLimitingInterface[int], queues)
	for i := range all {
		all[i] = workqueue.NewTypedRateLimitingQueueWithConfig(workqueue.DefaultTypedControllerRateLimiter[int](),
			workqueue.TypedRateLimitingQueueConfig[int]{Name: "used"})
	}
	<-time.After(600 * time.Millisecond) // upstream's tickers fire after 500
	for end := time.Now().Add(10 * time.Second); tickers() > 0; <-time.After(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d queues tick", tickers())
		}
	}
	for _, q := range all {
		for i := range items {
			q.Add(i)
		}
		for range items {
			item, _ := q.Get()
			q.Done(item)
		}
		q.ShutDown() // waits for the goroutine that has ended
	}
	got := gather(t)
	for metric, want := range map[string]float64{
		"workqueue_depth": 0, "workqueue_adds_total": queues * items, "workqueue_retries_total": 0, "workqueue_queue_duration_seconds": queues * items,
		"workqueue_work_duration_seconds": queues * items, "workqueue_unfinished_work_seconds": 0, "workqueue_longest_running_processor_seconds": 0,
	} {
		value, ok := got[metric+" used"]
		if value -= before[metric+" used"]; !ok || value != want {
			t.Errorf("%s is %v (%t), want %v", metric, value, ok, want)
		}
	}
}

// TestRunning has the gauges tell of items that workers have at the moment of reading.
func TestRunning(t *testing.T) {
	q := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[string]{Name: "running"})
	defer q.ShutDown()
	for _, item := range []string{"a", "b", "c"} {
		q.Add(item)
		q.Get()
	}
	<-time.After(20 * time.Millisecond)
	q.Done("a")
	got := gather(t)
	total, longest := got["workqueue_unfinished_work_seconds running"], got["workqueue_longest_running_processor_seconds running"]
	if longest < 0.02 || total < 0.04 || total > 2*longest {
		t.Errorf("two items have taken %v s in total, the older one %v s", total, longest)
	}
	q.Done("b")
	q.Done("c")
	if got := gather(t)["workqueue_unfinished_work_seconds running"]; got != 0 {
		t.Errorf("no item has taken %v s", got)
	}
}

// TestWork pairs ends with beginnings, whatever their order.
func TestWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w work
		first := time.Now()
		w.begin(first)
		<-time.After(time.Second)
		second := time.Now()
		w.begin(second)
		<-time.After(time.Second)
		w.begin(time.Now())
		w.end(second.Add(time.Microsecond))
		if total, longest := w.seconds(time.Now().Add(time.Second)); total != 4 || longest != 3 {
			t.Errorf("%v s in total, the longest %v s, want 4 and 3", total, longest)
		}
		w.end(first)
		if total, longest := w.seconds(time.Now().Add(time.Second)); total != 1 || longest != 1 {
			t.Errorf("%v s in total, the longest %v s, want 1 and 1", total, longest)
		}
		w.end(first)
		w.end(first) // nothing is left
		if total, _ := w.seconds(time.Now()); total != 0 {
			t.Errorf("%v s in total, want none", total)
		}
	})
}

// TestUnsetElsewhere leaves goroutines alone that are no ticker of a queue.
func TestUnsetElsewhere(t *testing.T) {
	after := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		unset{}.Set(1)
		after = true
	}()
	<-done
	if !after {
		t.Error("Set ended a goroutine that is not a ticker")
	}
}

// gather returns the values of the metrics of queues, by name and queue; of histograms, the number of observations.
func gather(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if len(m.GetLabel()) != 1 {
				continue
			}
			values[f.GetName()+" "+m.GetLabel()[0].GetValue()] =
				m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}
