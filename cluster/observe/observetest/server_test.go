package observetest_test

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/klkube/kl/cluster/observe/observetest"
)

// clients returns a client that speaks JSON and one that prefers protobuf.
func clients(t *testing.T, config *rest.Config) map[string]kubernetes.Interface {
	t.Helper()
	proto := rest.CopyConfig(config)
	proto.ContentType = "application/vnd.kubernetes.protobuf"
	proto.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	plain := rest.CopyConfig(config)
	plain.ContentType, plain.AcceptContentTypes = "application/json", "application/json"
	return map[string]kubernetes.Interface{"JSON": kubernetes.NewForConfigOrDie(plain), "protobuf": kubernetes.NewForConfigOrDie(proto)}
}

func TestServerListsAndWatches(t *testing.T) {
	srv := observetest.Start(t, observetest.Synthetic(2, 120, time.Now())...)
	for name, client := range clients(t, srv.Config()) {
		t.Run(name, func(t *testing.T) {
			pods := client.CoreV1().Pods("team-01")
			list, err := pods.List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(list.Items) != 20 || list.Items[0].Status.Phase != corev1.PodRunning {
				t.Fatalf("%d pods, the first is %s", len(list.Items), list.Items[0].Status.Phase)
			}
			changed := list.Items[0].DeepCopy()
			changed.Labels["changed"] = "true"
			srv.Set(changed) // between the list and the watch: it must not be lost
			w, err := pods.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			srv.Remove(&list.Items[1])
			for _, want := range []struct {
				kind watch.EventType
				name string
			}{{watch.Modified, changed.Name}, {watch.Deleted, list.Items[1].Name}} {
				select {
				case e := <-w.ResultChan():
					if p, ok := e.Object.(*corev1.Pod); e.Type != want.kind || !ok || p.Name != want.name {
						t.Errorf("event %s of %v, want %s of %s", e.Type, e.Object, want.kind, want.name)
					}
				case <-time.After(30 * time.Second):
					t.Fatalf("no event %s of %s", want.kind, want.name)
				}
			}
			srv.Set(&list.Items[1])
			if _, err := pods.Watch(t.Context(), metav1.ListOptions{}); err == nil {
				t.Error("a watch without a resource version began")
			}
		})
	}
}

func TestServerPatches(t *testing.T) {
	srv := observetest.Start(t, observetest.Synthetic(1, 10, time.Now())...)
	deployments := clients(t, srv.Config())["JSON"].AppsV1().Deployments("team-00")
	for _, tt := range []struct {
		kind types.PatchType
		body string
		want int32
	}{
		{types.MergePatchType, `{"spec": {"replicas": 3}}`, 3},
		{types.StrategicMergePatchType, `{"spec": {"replicas": 4}}`, 4},
		{types.JSONPatchType, `[{"op": "replace", "path": "/spec/replicas", "value": 5}]`, 5},
	} {
		before := srv.Object("deployments", "team-00", "app-000").(*appsv1.Deployment)
		d, err := deployments.Patch(t.Context(), "app-000", tt.kind, []byte(tt.body), metav1.PatchOptions{})
		if err != nil {
			t.Fatalf("%s: %v", tt.kind, err)
		}
		if *d.Spec.Replicas != tt.want || d.Generation != before.Generation+1 || d.ResourceVersion == before.ResourceVersion {
			t.Errorf("%s: %d replicas, generation %d after %d", tt.kind, *d.Spec.Replicas, d.Generation, before.Generation)
		}
	}
	if _, err := deployments.Patch(t.Context(), "app-000", types.JSONPatchType, []byte("[{}"), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a patch that is no JSON: %v", err)
	}
	if _, err := deployments.Patch(t.Context(), "app-999", types.MergePatchType, []byte("{}"), metav1.PatchOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a patch of nothing: %v", err)
	}
	if err := deployments.Delete(t.Context(), "app-000", metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := deployments.Get(t.Context(), "app-000", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get after delete: %v", err)
	}
}

func TestServerRefusesAndGoesAway(t *testing.T) {
	srv := observetest.Start(t, observetest.Synthetic(1, 10, time.Now())...)
	client := clients(t, srv.Config())["JSON"]
	nodes := func() error {
		_, err := client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		return err
	}
	if err := nodes(); err != nil {
		t.Fatal(err)
	}
	srv.Refuse("list", "nodes")
	if err := nodes(); !apierrors.IsForbidden(err) {
		t.Errorf("a refused list: %v", err)
	}
	srv.Down()
	if err := nodes(); err == nil || apierrors.IsForbidden(err) {
		t.Errorf("a list while the server is down: %v", err)
	}
	srv.Up()
	if err := nodes(); !apierrors.IsForbidden(err) {
		t.Errorf("a refused list, once the server is up again: %v", err)
	}
}

func TestServerHasMetricsOnceTheyAreSet(t *testing.T) {
	objects := observetest.Synthetic(2, 10, time.Now())
	srv := observetest.Start(t, objects...)
	metrics := metricsclient.NewForConfigOrDie(srv.Config()).MetricsV1beta1()
	if _, err := metrics.NodeMetricses().List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("without metrics: %v", err)
	}
	srv.Usage(observetest.SyntheticUsage(objects))
	nodes, err := metrics.NodeMetricses().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 2 || nodes.Items[0].Usage.Cpu().IsZero() {
		t.Errorf("nodes %+v, %v", nodes, err)
	}
	pods, err := metrics.PodMetricses("").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(pods.Items) != 10 {
		t.Errorf("pods %+v, %v", pods, err)
	}
}

func TestKubeconfigLeadsToTheServer(t *testing.T) {
	srv := observetest.Start(t)
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(srv.Kubeconfig("lab")))
	if err != nil {
		t.Fatal(err)
	}
	version, err := kubernetes.NewForConfigOrDie(config).Discovery().ServerVersion()
	if err != nil || version.GitVersion != "v1.36.3" {
		t.Errorf("version %v, %v", version, err)
	}
}
