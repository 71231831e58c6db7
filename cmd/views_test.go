package cmd

import (
	"net/http"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe/observetest"
)

// observed returns a machine with a cluster kl that has the Deployments web, which is complete, and api, which is stuck.
func observed(t *testing.T) *machine {
	t.Helper()
	deployment := func(name string, ready int32, conditions ...appsv1.DeploymentCondition) *appsv1.Deployment {
		replicas := int32(2)
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "1", Generation: 1}}
		d.Spec.Replicas = &replicas
		d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
		d.Spec.Template.Labels = d.Spec.Selector.MatchLabels
		d.Status = appsv1.DeploymentStatus{
			ObservedGeneration: 1, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: ready, AvailableReplicas: ready, Conditions: conditions,
		}
		return d
	}
	stuck := appsv1.DeploymentCondition{
		Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "exceeded quota",
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0"}, Spec: corev1.PodSpec{NodeName: "n1"}}
	api := observetest.Start(t, deployment("web", 2), deployment("api", 0, stuck), pod,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}})
	api.Usage(func() ([]metricsv1beta1.NodeMetrics, []metricsv1beta1.PodMetrics) {
		usage := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("123m"), corev1.ResourceMemory: resource.MustParse("45Mi")}
		return []metricsv1beta1.NodeMetrics{{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Usage: usage}}, []metricsv1beta1.PodMetrics{{
			ObjectMeta: pod.ObjectMeta, Containers: []metricsv1beta1.ContainerMetrics{{Name: "c", Usage: usage}},
		}}
	})
	m := newMachine(t)
	l := m.env.Home.Cluster("kl")
	serveStatus(t, l, http.NotFoundHandler())
	useAPI(t, l, api)
	return m
}

func TestWatchRollout(t *testing.T) {
	m := observed(t)
	for arg, want := range map[string]string{
		"web":        "shop/web  revision 0  2 desired, 2 updated, 2 ready, 2 available  Complete\n",
		"deploy/web": "shop/web  revision 0  2 desired, 2 updated, 2 ready, 2 available  Complete\n",
	} {
		if out := m.must("watch", "rollout", arg, "-n", "shop", "--timeout", "20s"); out != want {
			t.Errorf("watch rollout %s printed %q, want %q", arg, out, want)
		}
	}
	stdout, stderr, code := m.run("watch", "rollout", "api", "-n", "shop", "--patience", "1ms", "--timeout", "20s")
	if code != exitFailed || !strings.Contains(stdout, "0 ready") || !strings.HasPrefix(stderr, "kl: rollout is stuck: ") || !strings.Contains(stderr, "exceeded quota") {
		t.Errorf("a stuck rollout: exit code %d, %q, %q", code, stdout, stderr)
	}
	_, stderr, code = m.run("watch", "rollout", "api", "-n", "shop", "--timeout", "100ms")
	if code != exitFailed || stderr != "kl: watch rollout api: not complete after 100ms\n" {
		t.Errorf("a timeout: exit code %d, %q", code, stderr)
	}
	_, stderr, code = m.run("watch", "rollout", "sts/web", "-n", "shop")
	if code != exitFailed || !strings.Contains(stderr, "shop/web") {
		t.Errorf("no such StatefulSet: exit code %d, %q", code, stderr)
	}
}

func TestTop(t *testing.T) {
	m := observed(t)
	for args, want := range map[string]string{"top": "web-0", "top pods -n shop --once": "web-0", "top nodes --rows 1": "n1"} {
		out := m.must(strings.Fields(args)...)
		if !strings.Contains(out, want) || !strings.Contains(out, "123m") || strings.Count(out, "\n") != 2 {
			t.Errorf("kl %s printed:\n%s", args, out)
		}
	}
	if out := m.must("top", "-n", "empty"); strings.Contains(out, "web-0") {
		t.Errorf("a pod of another namespace:\n%s", out)
	}
}

func TestSnapshot(t *testing.T) {
	m := observed(t)
	out := m.must("ui", "--snapshot", "rollouts", "-n", "shop", "--size", "100x20", "-o", "text")
	if lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n"); len(lines) != 20 || !strings.Contains(out, "web") {
		t.Errorf("%d lines:\n%s", len(lines), out)
	}
	if svg := m.must("ui", "--snapshot", "rollouts", "-n", "shop", "-o", "svg"); !strings.HasPrefix(svg, "<svg") {
		t.Errorf("svg begins with %.40q", svg)
	}
	_, stderr, code := m.run("ui")
	if code != exitFailed || stderr != "kl: open the dashboard: standard input and output are not a terminal\n    use --snapshot SCREEN to print one frame\n" {
		t.Errorf("without a terminal: exit code %d, %q", code, stderr)
	}
	_, stderr, code = m.run("up", "--ui")
	if code != exitFailed || !strings.Contains(stderr, "run kl up without --ui") {
		t.Errorf("up --ui without a terminal: exit code %d, %q", code, stderr)
	}
}

// useAPI writes the kubeconfig of a cluster, which leads to api.
func useAPI(t *testing.T, l cluster.Layout, api *observetest.Server) {
	t.Helper()
	if err := os.WriteFile(l.Kubeconfig(), []byte(api.Kubeconfig("kl-"+l.Name)), 0o600); err != nil {
		t.Fatal(err)
	}
}
