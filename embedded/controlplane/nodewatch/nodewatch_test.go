package nodewatch

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
)

func node(name, kind string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{cluster.SimulatedLabel: kind}}}
}

// run runs an informer over the Nodes of client until the test or stop ends it.
func run(t *testing.T, client *fake.Clientset) (i *Informer, stop func()) {
	t.Helper()
	i = New(client)
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- i.Run(ctx, func() { close(ready) }) }()
	<-ready
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want a clean stop", err)
		}
	})
	t.Cleanup(stop)
	return i, stop
}

// seen notes what the handlers of a view are called for, as "add NAME" and so on.
type seen struct{ events *latest.Value[[]string] }

func (s seen) note(event, name string) {
	s.events.Update(func(list []string) ([]string, bool) { return append(slices.Clone(list), event+" "+name), true })
}

// handle adds a handler to a view, and waits until it was called for the Nodes that there are.
func handle(t *testing.T, v *View) seen {
	t.Helper()
	s := seen{latest.New[[]string](nil)}
	name := func(obj any) string {
		key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj)
		if err != nil {
			t.Error(err)
		}
		return key
	}
	h, err := v.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.note("add", name(obj)) },
		UpdateFunc: func(_, obj any) { s.note("update", name(obj)) },
		DeleteFunc: func(obj any) { s.note("delete", name(obj)) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if !cache.WaitFor(t.Context(), "", h.HasSyncedChecker()) {
		t.Fatal("the handler is not called for all nodes")
	}
	return s
}

// await waits for the events, in any order.
func (s seen) await(t *testing.T, want ...string) {
	t.Helper()
	want = slices.Sorted(slices.Values(want))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := s.events.Wait(ctx, func(list []string) bool { return len(list) >= len(want) })
	got = slices.Sorted(slices.Values(got))
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("events (-want +got): %v\n%s", err, d)
	}
}

// TestViews: however many views there are, Nodes are listed and watched once, and each view sees those that it asks for.
func TestViews(t *testing.T) {
	client := fake.NewClientset(node("n1", ""), node("sim-1", cluster.SimulatedValue))
	i, _ := run(t, client)
	views := []*View{i.View(nil), i.View(Real), i.View(Simulated)}
	all, real, simulated := handle(t, views[0]), handle(t, views[1]), handle(t, views[2])
	all.await(t, "add n1", "add sim-1")
	real.await(t, "add n1")
	simulated.await(t, "add sim-1")

	nodes := client.CoreV1().Nodes()
	if _, err := nodes.Create(t.Context(), node("n2", ""), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := nodes.Update(t.Context(), node("n1", cluster.SimulatedValue), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := nodes.Delete(t.Context(), "sim-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	all.await(t, "add n1", "add sim-1", "add n2", "update n1", "delete sim-1")
	real.await(t, "add n1", "add n2", "delete n1")
	simulated.await(t, "add sim-1", "add n1", "delete sim-1")
	for _, v := range views {
		if _, err := v.Lister().Get("n2"); err != nil {
			t.Errorf("a lister that does not have all nodes: %v", err)
		}
	}
	watches := 0
	for _, a := range client.Actions() {
		if a.GetVerb() == "watch" {
			watches++
		}
	}
	if watches != 1 {
		t.Errorf("nodes are watched %d times, want once", watches)
	}
}

// TestClose: a view that is closed has no handlers and no goroutines, and the others go on.
func TestClose(t *testing.T) {
	client := fake.NewClientset(node("n1", ""))
	i, stop := run(t, client)
	stays := handle(t, i.View(nil))
	all := []string{"add n1"}
	for range 3 { // a component that is made again
		v := i.View(nil)
		first, second := handle(t, v), handle(t, v)
		first.await(t, "add n1")
		second.await(t, "add n1")
		v.Close()
		v.Close()
		if _, err := v.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{}); !errors.Is(err, errClosed) {
			t.Errorf("AddEventHandler() of a closed view = %v", err)
		}
		if _, err := client.CoreV1().Nodes().Update(t.Context(), node("n1", ""), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		all = append(all, "update n1")
		stays.await(t, all...)
		first.await(t, "add n1")
		second.await(t, "add n1")
	}
	if n := listeners(1); n != 1 {
		t.Errorf("%d goroutines call handlers, want that of the view that is open", n)
	}
	open := i.View(nil)
	handle(t, open)
	stop()
	open.Close() // after the informer
	if n := listeners(0); n != 0 {
		t.Errorf("%d goroutines call handlers of an informer that has stopped", n)
	}
}

// listeners counts the goroutines that call handlers, once they are want or time is up: one that was told to end may take a moment.
func listeners(want int) int {
	for last := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		buf := make([]byte, 1<<20)
		n := strings.Count(string(buf[:runtime.Stack(buf, true)]), "cache.(*processorListener).run(")
		if n == want || time.Now().After(last) {
			return n
		}
	}
}

func TestAwait(t *testing.T) {
	client := fake.NewClientset(node("n1", ""))
	i, _ := run(t, client)
	if err := i.Await(t.Context(), Real); err != nil {
		t.Errorf("Await() of a node that exists = %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := i.Await(short, Simulated); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Await() = %v although no node is simulated", err)
	}
	done := make(chan error, 1)
	go func() { done <- i.Await(t.Context(), func(n *corev1.Node) bool { return n.Name == "n2" }) }()
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node("n2", ""), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Await() of a node that comes = %v", err)
	}
	go func() { done <- i.Await(t.Context(), Simulated) }()
	if _, err := client.CoreV1().Nodes().Update(t.Context(), node("n1", cluster.SimulatedValue), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Await() of a node that changes = %v", err)
	}
}

// TestTrim: what is large and read by nobody goes. Annotations stay, because a controller that writes the Node back would remove them.
func TestTrim(t *testing.T) {
	n := node("n1", "")
	n.Annotations = map[string]string{"a": "b"}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.18.0.2"}}
	want := n.DeepCopy()
	n.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}
	n.Status.Images = []corev1.ContainerImage{{Names: []string{"app:1"}}}
	n.Status.VolumesInUse = []corev1.UniqueVolumeName{"v"}
	n.Status.VolumesAttached = []corev1.AttachedVolume{{Name: "v"}}
	got, err := trim(n)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("trim() (-want +got):\n%s", d)
	}
}
