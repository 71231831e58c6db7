package sim

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
)

// apis are the API servers of some clusters.
type apis struct {
	mu  sync.Mutex
	set map[string]*fake.Clientset
}

func (a *apis) connect(ctx context.Context, name string) (kubernetes.Interface, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.set[name] == nil {
		c := fake.NewClientset()
		c.PrependReactor("create", "nodes", stamp)
		a.set[name] = c
	}
	return a.set[name], nil
}

// stamp sets what an API server sets and the fake does not.
func stamp(action clienttesting.Action) (bool, runtime.Object, error) {
	n := action.(clienttesting.CreateAction).GetObject().(*corev1.Node)
	n.CreationTimestamp, n.UID = metav1.Now(), types.UID("uid-of-"+n.Name)
	return false, nil, nil
}

func (a *apis) clusters(context.Context) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for name := range a.set {
		out = append(out, name)
	}
	return out, nil
}

func newDriver() (*Driver, *apis) {
	a := &apis{set: map[string]*fake.Clientset{}}
	return New(Options{Connect: a.connect, Clusters: a.clusters}), a
}

func TestDriver(t *testing.T) {
	d, a := newDriver()
	clustertest.Driver(t, clustertest.Subject{
		Connect: func(*testing.T) cluster.Driver { return d },
		Payload: cluster.Payload{SHA: "abc"},
		Prefix:  "s",
		Residue: func(t *testing.T, name string) string {
			api, err := a.connect(context.WithoutCancel(t.Context()), name)
			if err != nil {
				return err.Error()
			}
			list, err := api.CoreV1().Nodes().List(context.WithoutCancel(t.Context()), metav1.ListOptions{})
			if err != nil {
				return err.Error()
			}
			var left []string
			for _, n := range list.Items {
				left = append(left, n.Name)
			}
			return strings.Join(left, "\n")
		},
	})
}

func TestNodesAreMarkedTheKwokWay(t *testing.T) {
	d, a := newDriver()
	if _, err := d.Create(t.Context(), cluster.NodeSpec{Cluster: "lab", Name: "sim-1", MilliCPUs: 1500, Labels: map[string]string{"zone": "a"}}); err != nil {
		t.Fatal(err)
	}
	api, _ := a.connect(t.Context(), "lab")
	n, err := api.CoreV1().Nodes().Get(t.Context(), "sim-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n.Labels["type"] != "kwok" || n.Labels["zone"] != "a" || n.Annotations["kwok.x-k8s.io/node"] != "fake" {
		t.Errorf("labels %v annotations %v", n.Labels, n.Annotations)
	}
	want := []corev1.Taint{{Key: "kwok.x-k8s.io/node", Value: "fake", Effect: corev1.TaintEffectNoSchedule}}
	if diff := cmp.Diff(want, n.Spec.Taints); diff != "" {
		t.Errorf("taints (-want +got):\n%s", diff)
	}
	if got := n.Status.Allocatable.Cpu().MilliValue(); got != 1500 {
		t.Errorf("allocatable cpu is %dm, want 1500m", got)
	}
}

// all is the shape of every node in these tests.
func all(int) Shape { return Shape{} }

func TestScale(t *testing.T) {
	d, a := newDriver()
	ctx := t.Context()
	names := func() []string {
		nodes, err := d.List(ctx, "lab")
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, n := range nodes {
			out = append(out, n.Name)
		}
		return out
	}
	scale := func(n int) {
		t.Helper()
		if err := d.Scale(ctx, "lab", n, all, nil); err != nil {
			t.Fatal(err)
		}
	}
	scale(12)
	if got := names(); len(got) != 12 || got[0] != "sim-1" || got[1] != "sim-2" || got[11] != "sim-12" {
		t.Errorf("12 nodes in natural order, got %v", got)
	}
	scale(3)
	if diff := cmp.Diff([]string{"sim-1", "sim-2", "sim-3"}, names()); diff != "" {
		t.Errorf("highest numbers go first (-want +got):\n%s", diff)
	}
	if err := d.Delete(ctx, cluster.Node{Cluster: "lab", Name: "sim-2"}); err != nil {
		t.Fatal(err)
	}
	scale(4)
	if diff := cmp.Diff([]string{"sim-1", "sim-2", "sim-3", "sim-4"}, names()); diff != "" {
		t.Errorf("holes are filled (-want +got):\n%s", diff)
	}
	if err := d.Scale(ctx, "lab", -1, all, nil); err == nil {
		t.Error("a negative number is accepted")
	}
	a.set["lab"].PrependReactor("create", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("full")
	})
	if err := d.Scale(ctx, "lab", 9, all, nil); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("Scale hides a failed node: %v", err)
	}
}

func TestScaleReportsProgress(t *testing.T) {
	d, _ := newDriver()
	var mu sync.Mutex
	var seen []int
	err := d.Scale(t.Context(), "lab", 50, all, func(done, of int) {
		mu.Lock()
		defer mu.Unlock()
		if of != 50 {
			t.Errorf("of %d, want 50", of)
		}
		seen = append(seen, done)
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(seen)
	if len(seen) != 50 || seen[0] != 1 || seen[49] != 50 {
		t.Errorf("progress %v, want each of 1 to 50", seen)
	}
}

func TestCreateGivesWhatTheSpecLeavesOpen(t *testing.T) {
	d, a := newDriver()
	n, err := d.Create(t.Context(), cluster.NodeSpec{Cluster: "lab", Name: "sim-1", Labels: map[string]string{"type": "mine", corev1.LabelArchStable: "arm64"}})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netip.ParseAddr(n.IP)
	if err != nil || !netip.MustParsePrefix("100.112.0.0/12").Contains(addr) {
		t.Errorf("address %q is not in the range of simulated nodes", n.IP)
	}
	api, _ := a.connect(t.Context(), "lab")
	o, err := api.CoreV1().Nodes().Get(t.Context(), "sim-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if cpu, memory := o.Status.Capacity.Cpu().Value(), o.Status.Capacity.Memory().Value(); cpu != 32 || memory != 256<<30 {
		t.Errorf("capacity: %d CPUs, %d bytes", cpu, memory)
	}
	if o.Labels["type"] != "kwok" || o.Labels[corev1.LabelArchStable] != "arm64" {
		t.Errorf("labels %v: kwok's mark must win over the spec, the spec over the defaults", o.Labels)
	}
	if nodes, err := d.List(t.Context(), "lab"); err != nil || len(nodes) != 1 {
		t.Errorf("nodes %v, %v", nodes, err)
	}
}

func TestCreateRefusesMounts(t *testing.T) {
	d, a := newDriver()
	_, err := d.Create(t.Context(), cluster.NodeSpec{Cluster: "lab", Name: "sim-1", Mounts: []cluster.Mount{{Host: "/data", Node: "/data"}}})
	var explained *cluster.Error
	if !errors.As(err, &explained) || explained.Hint == "" || explained.Node != "sim-1" {
		t.Errorf("error %v, want one with node and hint", err)
	}
	if len(a.set) != 0 {
		t.Error("the API was asked all the same")
	}
}

func TestListIgnoresDamagedAnnotationsAndRealNodes(t *testing.T) {
	d, a := newDriver()
	if _, err := d.Create(t.Context(), cluster.NodeSpec{Cluster: "lab", Name: "sim-1", MilliCPUs: 1500}); err != nil {
		t.Fatal(err)
	}
	api := a.set["lab"].CoreV1().Nodes()
	o, err := api.Get(t.Context(), "sim-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o.Annotations[specAnnotation] = "{"
	if _, err := api.Update(t.Context(), o, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	nodes, err := d.List(t.Context(), "lab")
	if err != nil {
		t.Fatal(err)
	}
	if len(nodes) != 1 || nodes[0].Name != "sim-1" || nodes[0].IP == "" || nodes[0].MilliCPUs != 0 {
		t.Errorf("nodes %+v", nodes)
	}
}

// TestAnAPIThatFails checks that no verb hides an error of the API, or of the connection to it.
func TestAnAPIThatFails(t *testing.T) {
	broken, a := newDriver()
	if _, err := broken.Create(t.Context(), cluster.NodeSpec{Cluster: "lab", Name: "sim-1"}); err != nil {
		t.Fatal(err)
	}
	a.set["lab"].PrependReactor("*", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("etcd is full")
	})
	unreachable := New(Options{
		Connect: func(context.Context, string) (kubernetes.Interface, error) {
			return nil, errors.New("no control plane")
		},
		Clusters: func(context.Context) ([]string, error) { return nil, errors.New("no home") },
	})
	for _, c := range []struct {
		d          *Driver
		want, list string // in the errors of verbs, and of a List of all clusters
	}{{broken, "etcd is full", "etcd is full"}, {unreachable, "no control plane", "no home"}} {
		n := cluster.Node{Cluster: "lab", Name: "sim-1"}
		_, createErr := c.d.Create(t.Context(), cluster.NodeSpec{Cluster: "lab", Name: "sim-2"})
		_, listErr := c.d.List(t.Context(), "lab")
		for verb, err := range map[string]error{
			"create": createErr, "list": listErr, "delete": c.d.Delete(t.Context(), n), "scale": c.d.Scale(t.Context(), "lab", 0, all, nil),
		} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", verb, err, c.want)
			}
		}
		if _, err := c.d.List(t.Context(), ""); err == nil || !strings.Contains(err.Error(), c.list) {
			t.Errorf("list of all clusters: %v, want %q", err, c.list)
		}
	}
}

func TestScaleStopsWithContext(t *testing.T) {
	d, a := newDriver()
	ctx, cancel := context.WithCancel(t.Context())
	err := d.Scale(ctx, "lab", 500, all, func(done, _ int) {
		if done == 10 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the error of ctx", err)
	}
	list, err := a.set["lab"].CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) < 10 || len(list.Items) > 10+2*parallel {
		t.Errorf("%d nodes were made, %v", len(list.Items), err)
	}
	if err := d.Scale(t.Context(), "lab", 20, all, nil); err != nil { // does the rest
		t.Fatal(err)
	}
	if nodes, err := d.List(t.Context(), "lab"); err != nil || len(nodes) != 20 {
		t.Errorf("%d nodes, %v", len(nodes), err)
	}
}
