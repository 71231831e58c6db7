package dev_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klkube/kl/cluster/dev"
	"github.com/klkube/kl/cluster/observe"
)

var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

const app = "docker.io/library/app:dev"

func at(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// id is that of a build.
func id(n int) string { return "sha256:" + strings.Repeat(fmt.Sprint(n), 64) }

func build(n int, seconds float64) dev.Build { return dev.Build{Name: app, ID: id(n), At: at(seconds)} }

// web is a Deployment of two pods, and the pods that it has of a build; 0 is what it had before.
type web struct {
	build, updated, ready, available int
	change                           func(*appsv1.Deployment, []*corev1.Pod)
	pods                             int // of the build
}

func annotations(n int) map[string]string {
	if n == 0 {
		return nil
	}
	return map[string]string{dev.Annotation: id(n)}
}

func (w web) snapshot() *observe.Snapshot {
	two, yes := int32(2), true
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Annotations: annotations(w.build)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:dev"}}},
	}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "d", Generation: 2, Annotations: map[string]string{"deployment.kubernetes.io/revision": "2"}},
		Spec:       appsv1.DeploymentSpec{Replicas: &two, Template: template},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2, UpdatedReplicas: int32(w.updated), AvailableReplicas: int32(w.available)},
	}
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-2", UID: "rs", Annotations: d.Annotations,
			OwnerReferences: []metav1.OwnerReference{{Kind: "Deployment", UID: "d", Controller: &yes}}},
		Spec: appsv1.ReplicaSetSpec{Template: template},
	}
	s := observe.Snapshot{Deployments: []*appsv1.Deployment{d}, ReplicaSets: []*appsv1.ReplicaSet{set}}
	for n := range w.pods {
		p := pod(fmt.Sprintf("web-2-%d", n), "app:dev", n < w.ready)
		p.Annotations = annotations(w.build)
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", UID: "rs", Controller: &yes}}
		s.Pods = append(s.Pods, p)
	}
	if w.change != nil {
		w.change(d, s.Pods)
	}
	return observe.NewSnapshot(s)
}

func pod(name, image string, ready bool) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app", Image: image}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{Name: "app", Ready: ready}}},
	}
}

// crashed has the first pod end with exit code 3, once or again and again.
func crashed(again bool) func(*appsv1.Deployment, []*corev1.Pod) {
	return func(_ *appsv1.Deployment, pods []*corev1.Pod) {
		c, ended := &pods[0].Status.ContainerStatuses[0], &corev1.ContainerStateTerminated{ExitCode: 3}
		c.State.Terminated = ended
		if again {
			c.RestartCount, c.LastTerminationState.Terminated = 2, ended
			c.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
		}
	}
}

// texts are updates as text, "…" behind those of progress.
func texts(v dev.View) []string {
	var lines []string
	for _, u := range v.Updates {
		line := u.Text
		if u.Progress {
			line += " …"
		}
		if u.Log != nil {
			line += fmt.Sprintf(" [log of %s/%s, previous %v]", u.Log.Source.Pod, u.Log.Source.Container, u.Log.Previous)
		}
		lines = append(lines, line)
	}
	return lines
}

func want(t *testing.T, got []string, lines ...string) {
	t.Helper()
	if diff := cmp.Diff(lines, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// begin has a build of web begin at 0 s.
func begin(t *testing.T) *dev.Tracker {
	t.Helper()
	tracker := dev.NewTracker("", nil)
	restart, lines := tracker.Built(build(1, 0), web{updated: 2, available: 2}.snapshot(), at(0))
	want(t, lines)
	if diff := cmp.Diff([]observe.Ref{{Kind: "Deployment", Namespace: "default", Name: "web"}}, restart); diff != "" {
		t.Errorf("restart (-want +got):\n%s", diff)
	}
	return tracker
}

func TestRoll(t *testing.T) {
	tracker := begin(t)
	v := tracker.Look(web{updated: 2, available: 2}.snapshot(), at(0.1)) // the API server does not have the change yet
	want(t, texts(v), "web  app:dev sha256:111111111111  0/2 pods  0.1 s …")
	want(t, v.Active, "web  app:dev sha256:111111111111  0/2 pods  0.1 s")
	want(t, texts(tracker.Look(web{build: 1, updated: 0, available: 2}.snapshot(), at(0.2))))
	v = tracker.Look(web{build: 1, updated: 1, available: 2, pods: 1, ready: 1}.snapshot(), at(0.8))
	want(t, texts(v), "web  app:dev sha256:111111111111  1/2 pods  0.8 s …")
	v = tracker.Look(web{build: 1, updated: 2, available: 2, pods: 2, ready: 2}.snapshot(), at(1.2))
	want(t, texts(v), "web  app:dev sha256:111111111111  2/2 pods  1.2 s  ready")
	want(t, v.Active)
	// The same build under the same name is none.
	if restart, lines := tracker.Built(build(1, 2), web{build: 1}.snapshot(), at(2)); restart != nil || lines != nil {
		t.Errorf("the same ID: %v, %v", restart, lines)
	}
}

func TestSuperseded(t *testing.T) {
	tracker := begin(t)
	tracker.Look(web{build: 1, updated: 1, available: 2, pods: 1}.snapshot(), at(0.5))
	restart, lines := tracker.Built(build(2, 1), web{build: 1}.snapshot(), at(1))
	want(t, lines, "web  app:dev sha256:111111111111  0/2 pods  1.0 s  superseded")
	if len(restart) != 1 {
		t.Errorf("restart %v", restart)
	}
	// Pods of the first build do not count.
	v := tracker.Look(web{build: 1, updated: 2, available: 2, pods: 2, ready: 2}.snapshot(), at(1.1))
	want(t, texts(v), "web  app:dev sha256:222222222222  0/2 pods  0.1 s …")
	v = tracker.Look(web{build: 2, updated: 2, available: 2, pods: 2, ready: 2}.snapshot(), at(2))
	want(t, texts(v), "web  app:dev sha256:222222222222  2/2 pods  1.0 s  ready")
}

func TestCrash(t *testing.T) {
	tracker := begin(t)
	once := web{build: 1, updated: 1, available: 2, pods: 1, change: crashed(false)}.snapshot()
	want(t, texts(tracker.Look(once, at(1))),
		"web  app:dev sha256:111111111111  0/2 pods  1.0 s  container app ended (exit 3) (web-2-0) [log of web-2-0/app, previous false]")
	v := tracker.Look(web{build: 1, updated: 1, available: 2, pods: 1, change: crashed(true)}.snapshot(), at(20))
	want(t, texts(v))
	want(t, v.Active, "web  app:dev sha256:111111111111  0/2 pods  1.0 s  container app ended (exit 3) (web-2-0)")
	// It runs for some seconds in between, which is not called ready.
	whole := web{build: 1, updated: 2, available: 2, pods: 2, ready: 2}.snapshot()
	want(t, texts(tracker.Look(whole, at(30))))
	want(t, texts(tracker.Look(once, at(33))))
	want(t, texts(tracker.Look(whole, at(50))))
	want(t, texts(tracker.Look(whole, at(61))), "web  app:dev sha256:111111111111  2/2 pods  61.0 s  ready")
	// The next build rolls again, and is not superseded by anything.
	restart, lines := tracker.Built(build(2, 70), whole, at(70))
	if len(restart) != 1 || lines != nil {
		t.Errorf("the next build: %v, %v", restart, lines)
	}
}

// TestCrashLater: a program that ends after it was ready is told of.
func TestCrashLater(t *testing.T) {
	tracker := begin(t)
	want(t, texts(tracker.Look(web{build: 1, updated: 2, available: 2, pods: 2, ready: 2}.snapshot(), at(1))),
		"web  app:dev sha256:111111111111  2/2 pods  1.0 s  ready")
	want(t, texts(tracker.Look(web{build: 1, updated: 2, available: 1, pods: 2, ready: 1}.snapshot(), at(2)))) // such as a probe that fails
	v := tracker.Look(web{build: 1, updated: 2, available: 0, pods: 2, change: crashed(true)}.snapshot(), at(3))
	want(t, texts(v), "web  app:dev sha256:111111111111  0/2 pods  3.0 s  container app keeps ending (exit 3), 2 restarts (web-2-0)"+
		" [log of web-2-0/app, previous true]")
}

func TestEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		web  web
		want string
	}{
		{"paused", web{build: 1, change: func(d *appsv1.Deployment, _ []*corev1.Pod) { d.Spec.Paused = true }}, "paused with 0 of 2 pods updated"},
		{"scaled to 0", web{build: 1, change: func(d *appsv1.Deployment, _ []*corev1.Pod) {
			*d.Spec.Replicas, d.Status.Replicas = 0, 0
		}}, "scaled to 0"},
		{"no image", web{build: 1, updated: 1, available: 2, pods: 1, change: func(_ *appsv1.Deployment, pods []*corev1.Pod) {
			c := &pods[0].Status.ContainerStatuses[0]
			c.Image, c.State.Waiting = "app:dev", &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}
		}}, "cannot pull image app:dev: not found (web-2-0)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tracker := begin(t)
			want(t, texts(tracker.Look(tt.web.snapshot(), at(1))), "web  app:dev sha256:111111111111  0/2 pods  1.0 s  "+tt.want)
			want(t, texts(tracker.Look(tt.web.snapshot(), at(2))))
		})
	}
}

// TestGone: what is deleted, changed by others or not allowed is said once.
func TestGone(t *testing.T) {
	const line = "web  app:dev sha256:111111111111  0/2 pods  1.0 s  "
	tracker := begin(t)
	want(t, texts(tracker.Look(observe.NewSnapshot(observe.Snapshot{}), at(1))), line+"deleted")
	tracker = begin(t)
	tracker.Look(web{build: 1}.snapshot(), at(0.5))
	want(t, texts(tracker.Look(web{}.snapshot(), at(1))), line+"its template was changed by someone else")
	tracker = begin(t)
	ref := observe.Ref{Kind: "Deployment", Namespace: "default", Name: "web"}
	want(t, tracker.Refused(ref, build(1, 0), at(1), errors.New("restart web: forbidden")), line+"restart web: forbidden")
	want(t, tracker.Refused(ref, build(1, 0), at(1), errors.New("restart web: forbidden")))
	if v := tracker.Look(web{}.snapshot(), at(2)); len(v.Updates)+len(v.Active) > 0 {
		t.Errorf("it is still followed: %+v", v)
	}
}
