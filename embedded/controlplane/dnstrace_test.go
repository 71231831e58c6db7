package controlplane

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster"
)

func TestDNSMoments(t *testing.T) {
	started := time.Date(2026, 5, 4, 3, 2, 1, 700_000_000, time.UTC)
	now := metav1.NewTime(started.Truncate(time.Second)) // the API knows no fractions
	before := metav1.NewTime(started.Add(-time.Minute))
	pod := func(created, scheduled, running, ready metav1.Time) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: created}}
		p.Status.Conditions = []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: scheduled},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: ready},
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: running}}}}
		return p
	}
	waiting := pod(now, now, now, now)
	waiting.Status.Conditions[0].Status, waiting.Status.Conditions[1].Status = corev1.ConditionFalse, corev1.ConditionFalse
	waiting.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}
	for _, tt := range []struct {
		name string
		pod  *corev1.Pod
		want []string
	}{
		{"all new", pod(now, now, now, now), []string{cluster.DNSPod, cluster.DNSScheduled, cluster.DNSRunning, cluster.DNSReady}},
		{"from before the start", pod(before, before, before, before), nil},
		{"from before the start, and running again", pod(before, before, now, now), []string{cluster.DNSRunning, cluster.DNSReady}},
		{"waiting", waiting, []string{cluster.DNSPod}},
		{"empty", &corev1.Pod{}, nil},
	} {
		if got := dnsMoments(tt.pod, started); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A moment is the first of its name, and a status that somebody holds does not change.
func TestAddMoment(t *testing.T) {
	s := cluster.Status{Started: time.Now().Add(-time.Minute)}
	addMoment(&s, "a")
	held := s
	addMoment(&s, "b")
	again := s
	addMoment(&again, "a")
	if len(held.Moments) != 1 || len(s.Moments) != 2 || len(again.Moments) != 2 || s.Moments[0].At < 60 || s.Moments[1].At < s.Moments[0].At {
		t.Errorf("moments %+v, then %+v, then %+v", held.Moments, s.Moments, again.Moments)
	}
}
