package observe

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var testNow = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) metav1.Time { return metav1.NewTime(testNow.Add(-d)) }

// webSnapshot is a Deployment web of three pods that moves from revision 1 to 2, one new pod up, two old ones left.
func webSnapshot(change func(*appsv1.Deployment, *Snapshot)) *Snapshot {
	three, yes := int32(3), true
	quarter := intstr.FromString("25%")
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "d", Generation: 2, CreationTimestamp: ago(time.Hour),
		Annotations: map[string]string{revisionAnnotation: "2"}}}
	d.Spec = appsv1.DeploymentSpec{Replicas: &three, Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &quarter, MaxUnavailable: &quarter}}}
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 1, ReadyReplicas: 3, AvailableReplicas: 3}
	set := func(name, rev string, uid types.UID) *appsv1.ReplicaSet {
		return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: uid, CreationTimestamp: ago(time.Minute),
			Annotations: map[string]string{revisionAnnotation: rev}, OwnerReferences: []metav1.OwnerReference{{UID: "d", Controller: &yes}}}}
	}
	s := &Snapshot{Deployments: []*appsv1.Deployment{d}, ReplicaSets: []*appsv1.ReplicaSet{set("web-1", "1", "rs1"), set("web-2", "2", "rs2")},
		Pods: []*corev1.Pod{testPod("web-1-a", "rs1", nil), testPod("web-1-b", "rs1", nil), testPod("web-2-a", "rs2", nil)}}
	if change != nil {
		change(d, s)
	}
	return NewSnapshot(*s)
}

func testPod(name string, owner types.UID, change func(*corev1.Pod)) *corev1.Pod {
	yes := true
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), CreationTimestamp: ago(time.Minute),
		OwnerReferences: []metav1.OwnerReference{{UID: owner, Controller: &yes}}}}
	p.Spec = corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app", Image: "web:2", ReadinessProbe: &corev1.Probe{}}}}
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: ago(time.Minute)}},
		ContainerStatuses: []corev1.ContainerStatus{{Name: "app", Image: "web:2", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}}
	if change != nil {
		change(p)
	}
	return p
}

func waiting(reason, msg string, restarts int32, last *corev1.ContainerStateTerminated) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		c := &p.Status.ContainerStatuses[0]
		c.Ready, c.RestartCount = false, restarts
		c.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: msg}}
		c.LastTerminationState.Terminated = last
		p.Status.Conditions[0].Status = corev1.ConditionFalse
	}
}

func TestDeploymentVerdict(t *testing.T) {
	newPod := func(change func(*corev1.Pod)) func(*appsv1.Deployment, *Snapshot) {
		return func(_ *appsv1.Deployment, s *Snapshot) { s.Pods[2] = testPod("web-2-a", "rs2", change) }
	}
	for _, tt := range []struct {
		name   string
		change func(*appsv1.Deployment, *Snapshot)
		state  RolloutState
		level  Level
		why    string
	}{
		{"under way", nil, RolloutProgressing, Busy, "1 of 3 pods updated"},
		{"complete", func(d *appsv1.Deployment, _ *Snapshot) { d.Status.UpdatedReplicas = 3 }, RolloutDone, Good, ""},
		{"not observed yet", func(d *appsv1.Deployment, _ *Snapshot) { d.Status.UpdatedReplicas, d.Generation = 3, 3 }, RolloutProgressing, Busy, "0 of 3 pods updated"},
		{"old pods left", func(d *appsv1.Deployment, _ *Snapshot) { d.Status.UpdatedReplicas, d.Status.Replicas = 3, 4 }, RolloutProgressing, Busy, "1 old pods to go"},
		{"scaled to zero", func(d *appsv1.Deployment, _ *Snapshot) {
			*d.Spec.Replicas, d.Status.Replicas, d.Status.UpdatedReplicas = 0, 0, 0
		}, RolloutZero, Idle, ""},
		{"paused in the middle", func(d *appsv1.Deployment, _ *Snapshot) { d.Spec.Paused = true }, RolloutPaused, Warn, "paused with 1 of 3 pods updated"},
		{"some unavailable", func(d *appsv1.Deployment, _ *Snapshot) {
			d.Status.UpdatedReplicas, d.Status.AvailableReplicas = 3, 2
		}, RolloutUnavailable, Warn, "2 of 3 pods available"},
		{"all unavailable", func(d *appsv1.Deployment, _ *Snapshot) {
			d.Status.UpdatedReplicas, d.Status.AvailableReplicas = 3, 0
		}, RolloutUnavailable, Bad, "0 of 3 pods available"},
		{"image missing", newPod(waiting("ImagePullBackOff", `Back-off pulling image "web:2": rpc error: code = NotFound desc = docker.io/web:2: not found`, 0, nil)),
			RolloutStuck, Bad, "cannot pull image web:2: not found (web-2-a)"},
		{"crash loop", newPod(waiting("CrashLoopBackOff", "", 4, &corev1.ContainerStateTerminated{ExitCode: 3})),
			RolloutStuck, Bad, "container app keeps ending (exit 3), 4 restarts (web-2-a)"},
		{"out of memory", newPod(waiting("CrashLoopBackOff", "", 2, &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"})),
			RolloutStuck, Bad, "container app keeps ending (out of memory), 2 restarts (web-2-a)"},
		{"bad config", newPod(waiting("CreateContainerConfigError", `configmap "web" not found`, 0, nil)),
			RolloutStuck, Bad, `container app cannot start: configmap "web" not found (web-2-a)`},
		{"no node fits", newPod(func(p *corev1.Pod) {
			p.Spec.NodeName, p.Status.Phase, p.Status.ContainerStatuses = "", corev1.PodPending, nil
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable",
				Message: "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available."}}
		}), RolloutStuck, Bad, "no node fits: 0/2 nodes are available: 2 Insufficient cpu (web-2-a)"},
		{"never ready", newPod(func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].Ready = false
			p.Status.Conditions[0].Status, p.Status.Conditions[0].LastTransitionTime = corev1.ConditionFalse, ago(90*time.Second)
		}), RolloutProgressing, Warn, "container app runs but is not ready for 90s (web-2-a)"},
		{"quota", func(d *appsv1.Deployment, _ *Snapshot) {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue,
				Message: `pods "web-2-x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=3, limited: pods=3`}}
		}, RolloutStuck, Bad, "quota refuses more pods: small, requested: pods=1, used: pods=3, limited: pods=3"},
		{"deadline", func(d *appsv1.Deployment, _ *Snapshot) {
			d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, LastTransitionTime: ago(5 * time.Minute)}}
		}, RolloutStuck, Bad, "no progress for 15m"},
		{"old pod will not go", func(d *appsv1.Deployment, s *Snapshot) {
			d.Status.UpdatedReplicas, d.Status.Replicas = 3, 4
			s.Pods[0] = testPod("web-1-a", "rs1", func(p *corev1.Pod) { at := ago(time.Minute); p.DeletionTimestamp = &at })
		}, RolloutProgressing, Warn, "waits for old pod web-1-a to end: should have ended 60s ago"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Rollouts(webSnapshot(tt.change), testNow)[0]
			if r.State != tt.state || r.Level != tt.level || r.Why != tt.why {
				t.Errorf("got %s, %s, %q\nwant %s, %s, %q", r.State, r.Level, r.Why, tt.state, tt.level, tt.why)
			}
		})
	}
}

func TestStatefulSetVerdict(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*appsv1.StatefulSet)
		state  RolloutState
		why    string
	}{
		{"one revision", func(d *appsv1.StatefulSet) { d.Status.CurrentRevision = "db-2"; d.Status.UpdatedReplicas = 0 }, RolloutDone, ""},
		{"rolling", nil, RolloutProgressing, "1 of 3 pods updated"},
		{"canary", func(d *appsv1.StatefulSet) {
			two := int32(2)
			d.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &two}
		}, RolloutHeld, "held by partition 2: 1 of 3 pods updated"},
		{"on delete", func(d *appsv1.StatefulSet) { d.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType }, RolloutHeld,
			"OnDelete: 2 pods stay old until they are deleted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			three := int32(3)
			d := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db", UID: "s"},
				Spec:   appsv1.StatefulSetSpec{Replicas: &three, UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType}},
				Status: appsv1.StatefulSetStatus{Replicas: 3, ReadyReplicas: 3, AvailableReplicas: 3, UpdatedReplicas: 1, CurrentRevision: "db-1", UpdateRevision: "db-2"}}
			if tt.change != nil {
				tt.change(d)
			}
			r := Rollouts(NewSnapshot(Snapshot{StatefulSets: []*appsv1.StatefulSet{d}}), testNow)[0]
			if r.State != tt.state || r.Why != tt.why {
				t.Errorf("got %s, %q; want %s, %q", r.State, r.Why, tt.state, tt.why)
			}
		})
	}
}

func TestDaemonSetRefusedByPodSecurity(t *testing.T) {
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "agent", UID: "ds"},
		Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 2}}
	e := &corev1.Event{InvolvedObject: corev1.ObjectReference{UID: "ds"}, Type: corev1.EventTypeWarning, Reason: "FailedCreate",
		Message: `Error creating: pods "agent-x" is forbidden: violates PodSecurity "restricted:latest": privileged`}
	r := Rollouts(NewSnapshot(Snapshot{DaemonSets: []*appsv1.DaemonSet{d}, Events: []*corev1.Event{e}}), testNow)[0]
	if want := `Pod Security refuses the pods: "restricted:latest": privileged`; r.State != RolloutStuck || r.Why != want {
		t.Errorf("got %s, %q", r.State, r.Why)
	}
}

func TestRevisions(t *testing.T) {
	s := webSnapshot(nil)
	r := Rollouts(s, testNow)[0]
	type line struct {
		Number  int64
		Current bool
		Pods    int
	}
	var got []line
	for _, rev := range Revisions(s, &r) {
		got = append(got, line{rev.Number, rev.Current, len(rev.Pods)})
	}
	if diff := cmp.Diff([]line{{2, true, 1}, {1, false, 2}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDiff(t *testing.T) {
	got := Diff("a\nb\nc\nd\n", "a\nB\nc\nd\ne\n")
	want := []DiffLine{{' ', "a", "a"}, {'~', "b", "B"}, {' ', "c", "c"}, {' ', "d", "d"}, {'+', "", "e"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
