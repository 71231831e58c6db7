package export

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/host"
)

// TestFindings checks the lines for what looks wrong, in their order, and that many that say the same are one.
func TestFindings(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	ago := func(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }
	pod := func(name string, created time.Duration) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: ago(created)},
			Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app"}}}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
	}
	fine, restarted, starting := pod("fine", time.Hour), pod("restarted", time.Hour), pod("starting", time.Hour)
	fine.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", Ready: true}}
	restarted.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", Ready: true, RestartCount: 2,
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: ago(5 * time.Minute)}}}}
	starting.Status = corev1.PodStatus{Phase: corev1.PodPending}
	s := &sight{
		api: &clients{},
		info: host.Info{
			Phase: cluster.PhaseDegraded, Reason: "etcd\nrestarts", Problems: []string{"a certificate expires"},
			Crashes: &cluster.Crashes{Count: 2, Last: &cluster.Crash{Time: now, Reason: "killed"}},
			Nodes:   []cluster.Node{{Name: "n1", State: cluster.NodeRunning}, {Name: "n2", State: cluster.NodeDamaged, Problem: "no config"}},
			Status: &cluster.Status{Components: []cluster.ComponentStatus{
				{Name: cluster.Etcd, State: cluster.ComponentRestarting, Restarts: 3, Error: "disk full"}, {Name: cluster.KubeAPIServer, State: cluster.ComponentServing},
			}},
		},
		nodes: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Message: "kubelet stopped. More.", LastTransitionTime: ago(time.Minute)},
		}}}},
		pods: []corev1.Pod{fine, restarted, starting, pod("new", time.Second)},
	}
	yes := true
	for i := range 100 {
		p := pod(fmt.Sprintf("many-%d", i), time.Hour)
		p.Spec.NodeName, p.OwnerReferences = "", []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "many", Controller: &yes}}
		p.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: "0/1 nodes fit."}}}
		s.pods = append(s.pods, p)
		s.events = append(s.events, corev1.Event{Type: corev1.EventTypeWarning, Reason: "FailedScheduling", Message: "0/1 nodes fit.", LastTimestamp: ago(time.Duration(100-i) * time.Second),
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: p.Name}})
	}
	s.events = append(s.events, corev1.Event{Type: corev1.EventTypeWarning, Reason: "Old", LastTimestamp: ago(2 * time.Hour)}, corev1.Event{Type: corev1.EventTypeNormal, Reason: "Fine", LastTimestamp: ago(time.Second)})
	want := []string{
		"the cluster is Degraded: etcd restarts",
		"the control plane died 2 times, the last time at 2026-05-04T03:02:01Z: killed",
		"a certificate expires",
		"component etcd is Restarting, after 3 restarts: disk full",
		"node n2 is Damaged: no config",
		"node n1 is NotReady: for 60s: kubelet stopped",
		"pod shop/many-0 is Unschedulable: no node fits: 0/1 nodes fit (and 99 more)",
		"pod shop/starting is Starting (on n1)",
		"pod shop/restarted runs, but was restarted 2 times, the last time 5m ago",
		"warning of pod shop/many-99, 1s ago: FailedScheduling: 0/1 nodes fit. (and 99 more)",
	}
	if d := cmp.Diff(want, s.findings(now)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	stopped := &sight{info: host.Info{Phase: cluster.PhaseStopped, Nodes: []cluster.Node{{Name: "n1", State: cluster.NodeStopped}}}, apiErr: errors.New("it is off")}
	if d := cmp.Diff([]string{"the cluster is Stopped"}, stopped.findings(now)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	var many []string
	for i := range maxFindings + 5 {
		many = append(many, fmt.Sprint(i))
	}
	if got := capped(many); len(got) != maxFindings+1 || got[maxFindings] != "(5 more like these)" {
		t.Errorf("%d lines, the last is %q", len(got), got[len(got)-1])
	}
}
