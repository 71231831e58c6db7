package balance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
)

// fakeHub is nodes whose agents hold addresses and whose health checks answer as a test says.
type fakeHub struct {
	mu        sync.Mutex
	changed   chan struct{}
	connected []string
	held      map[string][]netip.Addr
	healthy   map[string]bool // node → healthCheckNodePort passes
	stuck     map[string]bool // the agent does not answer
	journal   []string        // requests to agents, in order
}

func newFakeHub(nodes ...string) *fakeHub {
	return &fakeHub{
		changed: make(chan struct{}), connected: nodes, held: map[string][]netip.Addr{}, healthy: map[string]bool{}, stuck: map[string]bool{},
	}
}

func (f *fakeHub) Watch() ([]string, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.connected), f.changed
}

// set changes the hub and wakes watchers.
func (f *fakeHub) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeHub) DialNode(_ context.Context, node, _, address string) (net.Conn, error) {
	f.mu.Lock()
	healthy, answers := f.healthy[node]
	f.mu.Unlock()
	if !answers {
		return nil, fmt.Errorf("connection to %s on %s refused", address, node)
	}
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		if _, err := http.ReadRequest(bufio.NewReader(theirs)); err != nil {
			return
		}
		status := "503 Service Unavailable"
		if healthy {
			status = "200 OK"
		}
		fmt.Fprintf(theirs, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", status)
	}()
	return ours, nil
}

func (f *fakeHub) AgentTransport(node string) http.RoundTripper { return agent{f, node} }

type agent struct {
	hub  *fakeHub
	node string
}

func (a agent) RoundTrip(r *http.Request) (*http.Response, error) {
	a.hub.mu.Lock()
	defer a.hub.mu.Unlock()
	if a.hub.stuck[a.node] {
		a.hub.mu.Unlock()
		<-r.Context().Done()
		a.hub.mu.Lock()
		return nil, r.Context().Err()
	}
	if r.Method == http.MethodPut {
		var want []netip.Addr
		if err := json.NewDecoder(r.Body).Decode(&want); err != nil {
			return nil, err
		}
		a.hub.held[a.node] = want
		a.hub.journal = append(a.hub.journal, fmt.Sprint(a.node, want))
	}
	w := httptest.NewRecorder()
	_ = json.NewEncoder(w).Encode(a.hub.held[a.node])
	return w.Result(), nil
}

func (f *fakeHub) holders(a netip.Addr) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var nodes []string
	for _, node := range slices.Sorted(maps.Keys(f.held)) {
		if slices.Contains(f.held[node], a) {
			nodes = append(nodes, node)
		}
	}
	return strings.Join(nodes, " ")
}

func testNode(name string, last int) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: addr(last).String()}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	return n
}

func testService(name string, policy corev1.ServiceExternalTrafficPolicy) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: name}}
	svc.Spec.Type, svc.Spec.ExternalTrafficPolicy, svc.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, policy, 30000
	return svc
}

func testSlice(service string, nodes ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service}}}
	for _, node := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{NodeName: &node})
	}
	return s
}

// fixture is a Balancer over a fake hub with nodes n1 (.2) and n2 (.3), in a synctest bubble.
type fixture struct {
	*testing.T
	hub     *fakeHub
	factory informers.SharedInformerFactory
	changed *latest.Value[struct{}]
	layout  cluster.Layout
	*Balancer
}

func newFixture(t *testing.T, hub *fakeHub) *fixture {
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0) // never started: tests fill the stores
	nodes, services, slices := factory.Core().V1().Nodes(), factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	changed := latest.New(struct{}{})
	f := &fixture{T: t, hub: hub, factory: factory, changed: changed, layout: cluster.Home(t.TempDir()).Cluster("c")}
	f.Balancer = New(Options{
		Layout: f.layout, Hub: hub, Changed: changed, Logger: slog.New(slog.DiscardHandler),
		Addresses: NewAddresses(nodes.Lister(), services.Lister(), func() { changed.Set(struct{}{}) }),
		Nodes:     nodes.Lister(), Services: services.Lister(), Slices: slices.Lister(),
	})
	for name, last := range map[string]int{"n1": 2, "n2": 3} {
		f.add(testNode(name, last))
		if err := os.MkdirAll(f.layout.NodeDir(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// add puts an object into the store of its informer.
func (s *fixture) add(o any) {
	s.Helper()
	store := s.factory.Core().V1().Nodes().Informer().GetStore()
	switch o.(type) {
	case *corev1.Service:
		store = s.factory.Core().V1().Services().Informer().GetStore()
	case *discoveryv1.EndpointSlice:
		store = s.factory.Discovery().V1().EndpointSlices().Informer().GetStore()
	}
	if err := store.Update(o); err != nil {
		s.Fatal(err)
	}
	s.changed.Set(struct{}{})
}

// start runs the Balancer until the test ends.
func (s *fixture) start() {
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- s.Balancer.Run(ctx) }()
	s.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			s.Errorf("run returned %v", err)
		}
	})
}

// ensure gives a Service its address, as the service controller does.
func (s *fixture) ensure(svc *corev1.Service) netip.Addr {
	s.Helper()
	s.add(svc)
	a, err := s.Addresses.Assign(svc, netip.Addr{})
	if err != nil {
		s.Fatal(err)
	}
	return a
}

// expect lets time pass in the bubble and then checks which nodes hold an address.
func (s *fixture) expect(within time.Duration, a netip.Addr, want string) {
	s.Helper()
	time.Sleep(within)
	synctest.Wait()
	if have := s.hub.holders(a); have != want {
		s.Errorf("%s after %s is held by %q, want %q; %v", a, within, have, want, s.hub.journal)
	}
}

func TestNodesComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, newFakeHub("n1", "n2"))
		s.start()
		one := s.ensure(testService("one", corev1.ServiceExternalTrafficPolicyCluster))
		two := s.ensure(testService("two", corev1.ServiceExternalTrafficPolicyCluster))
		s.expect(100*time.Millisecond, one, "n1")
		s.expect(0, two, "n2")

		s.hub.set(func() { s.hub.connected, s.hub.held["n1"] = []string{"n2"}, nil }) // killed
		s.expect(100*time.Millisecond, one, "n2")
		s.hub.set(func() { s.hub.connected = []string{"n1", "n2"} }) // back
		s.expect(time.Minute, one, "n2")

		s.hub.set(func() { s.hub.held["n2"] = nil }) // its agent was restarted, unnoticed
		s.expect(100*time.Millisecond, one, "n2")

		s.Addresses.Release(types.NamespacedName{Namespace: "d", Name: "one"})
		s.expect(100*time.Millisecond, one, "")
		s.expect(0, two, "n2")
	})
}

func TestLocalFollowsHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, newFakeHub("n1", "n2"))
		s.start()
		local := s.ensure(testService("local", corev1.ServiceExternalTrafficPolicyLocal))
		s.expect(time.Second, local, "")
		s.add(testSlice("local", "n2"))
		s.hub.set(func() { s.hub.healthy["n2"] = false }) // kube-proxy has not seen the endpoint yet
		s.expect(time.Second, local, "")
		s.hub.set(func() { s.hub.healthy["n2"] = true })
		s.expect(time.Second, local, "n2")
		s.add(testSlice("local", "n1", "n2"))
		s.hub.set(func() { s.hub.healthy["n1"] = true })
		s.expect(time.Second, local, "n2")
		s.add(testSlice("local", "n1")) // the pod is gone
		s.expect(300*time.Millisecond, local, "n1")
		s.add(testSlice("local", "n1", "n2"))
		s.expect(time.Second, local, "n1")
		s.hub.mu.Lock()
		s.hub.healthy["n1"] = false // kube-proxy knows before the API does
		s.hub.mu.Unlock()
		s.expect(time.Second, local, "n2")
		s.hub.mu.Lock()
		delete(s.hub.healthy, "n2") // no answer any more, and no other node passes
		s.hub.mu.Unlock()
		s.expect(3*time.Second, local, "n2")
	})
}

// A node that does not answer delays the others by no more than one request.
func TestStuckNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, newFakeHub("n1", "n2"))
		s.start()
		one := s.ensure(testService("one", corev1.ServiceExternalTrafficPolicyCluster))
		s.expect(100*time.Millisecond, one, "n1")
		s.hub.set(func() { s.hub.stuck["n1"] = true })
		frozen := testNode("n1", 2)
		frozen.Status.Conditions[0].Status = corev1.ConditionUnknown
		s.add(frozen)
		time.Sleep(2 * pushTimeout)
		synctest.Wait()
		if have := s.hub.holders(one); have != "n1 n2" { // a frozen node cannot be told to drop it; ARP prefers the other
			t.Errorf("held by %q", have)
		}
	})
}

// After a restart of the control plane every address stays on its node, although the nodes reconnect one by one.
func TestControlPlaneRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newFakeHub("n1")
		hub.held["n1"], hub.held["n2"] = []netip.Addr{}, []netip.Addr{addr(200), addr(201)}
		s := newFixture(t, hub)
		for i, name := range []string{"one", "two"} {
			svc := testService(name, corev1.ServiceExternalTrafficPolicyCluster)
			svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr(200 + i).String()}}
			s.add(svc)
		}
		if err := s.Addresses.Restore(func(*corev1.Service) bool { return true }); err != nil {
			t.Fatal(err)
		}
		s.start()
		s.expect(time.Second, addr(200), "n2")
		hub.set(func() { hub.connected = []string{"n1", "n2"} })
		s.expect(time.Minute, addr(200), "n2")
		s.expect(0, addr(201), "n2")
		for _, line := range hub.journal {
			if strings.HasPrefix(line, "n1") && strings.Contains(line, "10.246") {
				t.Errorf("an address was moved: %v", hub.journal)
			}
		}
		three := s.ensure(testService("three", corev1.ServiceExternalTrafficPolicyCluster))
		if three != addr(202) {
			t.Errorf("a new Service gets %s, which is another's", three)
		}
		s.expect(time.Second, three, "n1")
	})
}

// An address is removed from one node before another gets it.
func TestBreakBeforeMake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFixture(t, newFakeHub("n1", "n2"))
		s.start()
		one := s.ensure(testService("one", corev1.ServiceExternalTrafficPolicyCluster))
		s.expect(100*time.Millisecond, one, "n1")
		s.hub.mu.Lock()
		s.hub.journal = nil
		s.hub.mu.Unlock()
		excluded := testNode("n1", 2)
		excluded.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: ""}
		s.add(excluded)
		s.expect(100*time.Millisecond, one, "n2")
		if have := fmt.Sprint(s.hub.journal); have != "[n1[] n2[10.246.0.200]]" {
			t.Errorf("agents received %s", have)
		}
	})
}
