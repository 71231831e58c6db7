package observe

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestActivityCountsRestarts(t *testing.T) {
	pod := func(name string, restarts int32) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}, Spec: corev1.PodSpec{NodeName: "n1"},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{RestartCount: restarts}}}}
	}
	var h activity
	first := h.sample([]*corev1.Pod{pod("old", 7), pod("new", 0)}, nil)
	for range historyLen {
		h.sample([]*corev1.Pod{pod("old", 7), pod("new", 0)}, nil)
	}
	last := h.sample([]*corev1.Pod{pod("old", 8), pod("new", 1)}, nil)
	if diff := cmp.Diff(map[string][]int32{"a/old": {7}}, first.Restarts); diff != "" {
		t.Errorf("the first sample changed: %s", diff)
	}
	if got := last.Pod("a", "new"); !cmp.Equal(got, []int32{0, 1}) {
		t.Errorf("a pod that restarts begins at 0: %v", got)
	}
	old := last.Pod("a", "old")
	if len(old) != historyLen || old[0] != 7 || old[historyLen-1] != 8 {
		t.Errorf("an hour of restarts: %v", old)
	}
	if got := last.Node("n1"); got[0] != 7 || got[len(got)-1] != 9 {
		t.Errorf("restarts on the node: %v", got)
	}
	if gone := h.sample(nil, nil); len(gone.Restarts)+len(gone.OnNode) != 0 {
		t.Errorf("pods that are gone are remembered: %+v", gone)
	}
}

func TestScalerLoad(t *testing.T) {
	percent := func(n int32) *int32 { return &n }
	amount := func(s string) *resource.Quantity { q := resource.MustParse(s); return &q }
	cpu := func(target autoscalingv2.MetricTarget, now autoscalingv2.MetricValueStatus) (autoscalingv2.MetricSpec, autoscalingv2.MetricStatus) {
		return autoscalingv2.MetricSpec{Resource: &autoscalingv2.ResourceMetricSource{Target: target}},
			autoscalingv2.MetricStatus{Resource: &autoscalingv2.ResourceMetricStatus{Current: now}}
	}
	for _, tt := range []struct {
		name   string
		target autoscalingv2.MetricTarget
		now    autoscalingv2.MetricValueStatus
		want   int32
	}{
		{"utilization", autoscalingv2.MetricTarget{AverageUtilization: percent(50)}, autoscalingv2.MetricValueStatus{AverageUtilization: percent(75)}, 150},
		{"average value", autoscalingv2.MetricTarget{AverageValue: amount("200m")}, autoscalingv2.MetricValueStatus{AverageValue: amount("50m")}, 25},
		{"value", autoscalingv2.MetricTarget{Value: amount("4")}, autoscalingv2.MetricValueStatus{Value: amount("6")}, 150},
		{"nothing measured", autoscalingv2.MetricTarget{AverageUtilization: percent(50)}, autoscalingv2.MetricValueStatus{}, -1},
		{"target of zero", autoscalingv2.MetricTarget{Value: amount("0")}, autoscalingv2.MetricValueStatus{Value: amount("6")}, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec, status := cpu(tt.target, tt.now)
			h := &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{Metrics: []autoscalingv2.MetricSpec{spec}}}
			if got := ScalerLoad(h); got != -1 {
				t.Errorf("without status: %d", got)
			}
			h.Status.CurrentMetrics = []autoscalingv2.MetricStatus{status}
			if got := ScalerLoad(h); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
