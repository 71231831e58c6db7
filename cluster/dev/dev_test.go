package dev_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster/dev"
	"github.com/klkube/kl/cluster/observe"
)

// What `kl dev` does when the engine has built an image, and then with each snapshot.
func Example() {
	tracker := dev.NewTracker("", nil)
	snapshot, now := web{}.snapshot(), start
	restart, lines := tracker.Built(dev.Build{Name: dev.FullName("app:dev"), ID: id(1), At: now}, snapshot, now)
	fmt.Println(restart, lines) // each is restarted with the ID as dev.Annotation
	snapshot = web{build: 1, updated: 2, available: 2, pods: 2, ready: 2}.snapshot()
	for _, update := range tracker.Look(snapshot, now.Add(1200*time.Millisecond)).Updates {
		fmt.Println(update.Text)
	}
	// Output:
	// [Deployment default/web] []
	// web  app:dev sha256:111111111111  2/2 pods  1.2 s  ready
}

func TestFullName(t *testing.T) {
	for name, want := range map[string]string{
		"app": "docker.io/library/app:latest", "app:dev": app, "localhost:5000/a/b:c": "localhost:5000/a/b:c", "docker.io/library/app:dev": app,
		"app@" + id(1): "", "app:dev@" + id(1): "", "UPPER": "", "": "",
	} {
		if got := dev.FullName(name); got != want {
			t.Errorf("FullName(%q) = %q, want %q", name, got, want)
		}
	}
}

// cluster has workloads of all kinds, and pods that belong to none.
func cluster() *observe.Snapshot {
	template := func(images ...string) corev1.PodTemplateSpec {
		var t corev1.PodTemplateSpec
		for i, image := range images {
			t.Spec.Containers = append(t.Spec.Containers, corev1.Container{Name: fmt.Sprint("c", i), Image: image})
		}
		return t
	}
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	prepared := template("other:1")
	prepared.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "docker.io/library/app:dev"}}
	yes := true
	owned := pod("owned", "app:dev", true)
	owned.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Controller: &yes}}
	job := pod("job", "app:dev", true)
	job.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Controller: &yes}}
	ended := pod("ended", "app:dev", true)
	ended.Status.Phase = corev1.PodSucceeded
	return observe.NewSnapshot(observe.Snapshot{
		Deployments: []*appsv1.Deployment{
			{ObjectMeta: meta("default", "web"), Spec: appsv1.DeploymentSpec{Template: template("side:1", "app:dev")}},
			{ObjectMeta: meta("default", "pinned"), Spec: appsv1.DeploymentSpec{Template: template("app:dev@" + id(1))}},
			{ObjectMeta: meta("default", "other"), Spec: appsv1.DeploymentSpec{Template: template("app")}},
		},
		StatefulSets: []*appsv1.StatefulSet{{ObjectMeta: meta("shop", "db"), Spec: appsv1.StatefulSetSpec{Template: prepared}}},
		DaemonSets:   []*appsv1.DaemonSet{{ObjectMeta: meta("default", "agent"), Spec: appsv1.DaemonSetSpec{Template: template("app:dev")}}},
		Pods:         []*corev1.Pod{pod("bare", "app:dev", true), owned, job, ended, pod("another", "app:1", true)},
	})
}

func TestBuilt(t *testing.T) {
	for _, tt := range []struct {
		name      string
		image     string
		only      []string
		namespace string
		restart   []string
		lines     []string
	}{
		{name: "all kinds", image: app, restart: []string{"DaemonSet default/agent", "Deployment default/web", "StatefulSet shop/db"}, lines: []string{
			"pod/bare  app:dev sha256:111111111111  stays as it is: no workload makes it anew",
			"pod/job  app:dev sha256:111111111111  stays as it is: no workload makes it anew",
		}},
		{name: "latest", image: "docker.io/library/app:latest", restart: []string{"Deployment default/other"}},
		{name: "unused", image: "docker.io/library/new:1", lines: []string{"new:1 sha256:111111111111  no workload uses it"}},
		{name: "named", image: "docker.io/library/side:1", only: []string{"docker.io/library/side:1"}, restart: []string{"Deployment default/web"}},
		{name: "not named", image: app, only: []string{"docker.io/library/side:1"}},
		{name: "of kl's own", image: "kl.local/node:1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			restart, lines := dev.NewTracker(tt.namespace, tt.only).Built(dev.Build{Name: tt.image, ID: id(1), At: start}, cluster(), start)
			var refs []string
			for _, r := range restart {
				refs = append(refs, r.String())
			}
			if diff := cmp.Diff(tt.restart, refs); diff != "" {
				t.Errorf("restart (-want +got):\n%s", diff)
			}
			want(t, lines, tt.lines...)
		})
	}
}

// TestTitles: lines name what one would not expect.
func TestTitles(t *testing.T) {
	for namespace, wanted := range map[string][]string{
		"":     {"ds/agent", "web", "sts/db (shop)"},
		"shop": {"ds/agent (default)", "web (default)", "sts/db"},
	} {
		tracker := dev.NewTracker(namespace, nil)
		tracker.Built(dev.Build{Name: app, ID: id(1), At: start}, cluster(), start)
		for i, line := range tracker.Look(cluster(), start).Active {
			if prefix := wanted[i] + "  app:dev "; len(line) < len(prefix) || line[:len(prefix)] != prefix {
				t.Errorf("namespace %q: line %q, want it to begin with %q", namespace, line, prefix)
			}
		}
	}
}

// TestKnown: an image that the engine had before is no build.
func TestKnown(t *testing.T) {
	tracker := dev.NewTracker("", nil)
	unknown := tracker.Unknown(cluster(), start)
	if diff := cmp.Diff([]string{app, "docker.io/library/app:latest", "docker.io/library/side:1", "docker.io/library/other:1"}, unknown); diff != "" {
		t.Errorf("unknown (-want +got):\n%s", diff)
	}
	tracker.Know(app, id(1))
	if restart, lines := tracker.Built(dev.Build{Name: app, ID: id(1), At: start}, cluster(), start); restart != nil || lines != nil {
		t.Errorf("what was known: %v, %v", restart, lines)
	}
	if restart, _ := tracker.Built(dev.Build{Name: app, ID: id(2), At: start}, cluster(), start); len(restart) != 3 {
		t.Errorf("a build: %v", restart)
	}
	tracker.Know(app, id(3)) // what was asked for before the build
	if restart, _ := tracker.Built(dev.Build{Name: app, ID: id(2), At: start}, cluster(), start); restart != nil {
		t.Errorf("the same build: %v", restart)
	}
}

func TestFailed(t *testing.T) {
	ended := func(code int32) *corev1.ContainerStateTerminated {
		return &corev1.ContainerStateTerminated{ExitCode: code}
	}
	waits := &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}
	for _, tt := range []struct {
		name            string
		init, c         corev1.ContainerStatus
		want            string
		previous, found bool
	}{
		{name: "running"},
		{name: "ended well", c: corev1.ContainerStatus{State: corev1.ContainerState{Terminated: ended(0)}}},
		{name: "ended", c: corev1.ContainerStatus{State: corev1.ContainerState{Terminated: ended(1)}}, want: "c", found: true},
		{name: "waits", c: corev1.ContainerStatus{State: corev1.ContainerState{Waiting: waits}, LastTerminationState: corev1.ContainerState{Terminated: ended(1)}},
			want: "c", previous: true, found: true},
		{name: "runs again", c: corev1.ContainerStatus{LastTerminationState: corev1.ContainerState{Terminated: ended(1)}}},
		{name: "init", init: corev1.ContainerStatus{State: corev1.ContainerState{Terminated: ended(2)}}, want: "init", found: true},
	} {
		tt.init.Name, tt.c.Name = "init", "c"
		p := &corev1.Pod{Status: corev1.PodStatus{
			InitContainerStatuses: []corev1.ContainerStatus{tt.init}, ContainerStatuses: []corev1.ContainerStatus{tt.c},
		}}
		if container, previous, found := dev.Failed(p); container != tt.want || previous != tt.previous || found != tt.found {
			t.Errorf("%s: %q, previous %v, found %v", tt.name, container, previous, found)
		}
	}
}
