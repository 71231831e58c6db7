package cloud

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/cloud-provider/api"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/cloud/balance"
)

func TestInstances(t *testing.T) {
	layout := cluster.Home(t.TempDir()).Cluster("c")
	for _, path := range []string{layout.NodeStoppedFile("off"), filepath.Join(layout.NodeDir("on"), "node.json")} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	i := &instances{layout: layout, driver: "docker"}
	for _, c := range []struct {
		node, id     string
		labels       map[string]string
		exists, shut bool
	}{
		{node: "on", id: "kl://c/on", exists: true},
		{node: "off", id: "kl://c/off", exists: true, shut: true},
		{node: "removed", id: "kl://c/removed"},
		{node: "created-by-a-user", exists: true},
		{node: "of-another-cloud", id: "aws:///x", exists: true},
		{node: "sim-1", id: "kl://c/sim-1", labels: map[string]string{cluster.SimulatedLabel: cluster.SimulatedValue}, exists: true},
	} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: c.node, Labels: c.labels}}
		n.Spec.ProviderID = c.id
		exists, err := i.InstanceExists(t.Context(), n)
		if exists != c.exists || err != nil {
			t.Errorf("%s exists: %t, %v", c.node, exists, err)
		}
		shut, err := i.InstanceShutdown(t.Context(), n)
		if shut != c.shut || err != nil {
			t.Errorf("%s is shut down: %t, %v", c.node, shut, err)
		}
	}
}

func TestInstanceMetadata(t *testing.T) {
	layout := cluster.Home(t.TempDir()).Cluster("c")
	i := &instances{layout: layout, driver: "embedded"}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.246.0.2"}}
	want := &cloudprovider.InstanceMetadata{
		ProviderID: "kl://c/n1", InstanceType: "embedded", Region: "c", Zone: "n1", NodeAddresses: n.Status.Addresses,
	}
	have, err := i.InstanceMetadata(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("metadata (-want +got):\n%s", d)
	}
	// The address of a node that a driver made is the one that the driver assigned, whatever the Node says.
	if err := cluster.WriteNodeIdentity(layout, "n1", cluster.NodeIdentity{Token: "t"}); err != nil {
		t.Fatal(err)
	}
	if _, err := i.InstanceMetadata(t.Context(), n); err == nil {
		t.Error("metadata of a node without an address: no error")
	}
	if err := cluster.WriteNodeIdentity(layout, "n1", cluster.NodeIdentity{Token: "t", Address: netip.MustParseAddr("10.246.0.9")}); err != nil {
		t.Fatal(err)
	}
	want.NodeAddresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.246.0.9"}, {Type: corev1.NodeHostName, Address: "n1"}}
	n.Labels = map[string]string{corev1.LabelTopologyZone: "a", corev1.LabelTopologyRegion: "home", corev1.LabelInstanceTypeStable: "big"}
	want.Zone, want.Region, want.InstanceType = "a", "home", "big"
	if have, err = i.InstanceMetadata(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("metadata of a node with labels (-want +got):\n%s", d)
	}
}

func TestTrim(t *testing.T) {
	ours, theirs := Class, "example.com/other"
	for _, c := range []struct{ class, want *string }{{nil, nil}, {&ours, nil}, {&theirs, &theirs}} {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{LoadBalancerClass: c.class}}
		if _, err := trim(svc); err != nil || svc.Spec.LoadBalancerClass != c.want {
			t.Errorf("class %v, error %v; want %v", svc.Spec.LoadBalancerClass, err, c.want)
		}
	}
	node := "n1"
	slice := &discoveryv1.EndpointSlice{
		Endpoints: []discoveryv1.Endpoint{{NodeName: &node, Addresses: []string{"10.244.0.2"}}}, Ports: []discoveryv1.EndpointPort{{}},
	}
	if _, err := trim(slice); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{{NodeName: &node}}}, slice); d != "" {
		t.Errorf("slice (-want +got):\n%s", d)
	}
}

// TestBalancers goes through the life of a load balancer as the service controller drives it.
func TestBalancers(t *testing.T) {
	factory := informers.NewSharedInformerFactory(fake.NewClientset(), 0) // never started: the test fills the store
	nodes := factory.Core().V1().Nodes()
	changes := 0
	addresses := balance.NewAddresses(nodes.Lister(), factory.Core().V1().Services().Lister(), func() { changes++ })
	b := &balancers{addresses: addresses}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}

	var retry *api.RetryError
	if _, err := b.EnsureLoadBalancer(t.Context(), "c", svc, nil); !errors.As(err, &retry) {
		t.Errorf("without nodes: %v, want an error to retry", err)
	}
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.246.0.2"}}
	if err := nodes.Informer().GetStore().Add(n); err != nil {
		t.Fatal(err)
	}
	bad := svc.DeepCopy()
	bad.Spec.LoadBalancerIP = "router"
	if _, err := b.EnsureLoadBalancer(t.Context(), "c", bad, nil); err == nil || errors.As(err, &retry) {
		t.Errorf("malformed request: %v, want an error that is not retried", err)
	}
	made, err := b.EnsureLoadBalancer(t.Context(), "c", svc, nil)
	if err != nil || len(made.Ingress) != 1 || *made.Ingress[0].IPMode != corev1.LoadBalancerIPModeVIP {
		t.Fatalf("EnsureLoadBalancer() = %v, %v", made, err)
	}
	if found, exists, err := b.GetLoadBalancer(t.Context(), "c", svc); !exists || err != nil || cmp.Diff(made, found) != "" {
		t.Errorf("GetLoadBalancer() = %v, %t, %v; want %v", found, exists, err, made)
	}
	if err := b.EnsureLoadBalancerDeleted(t.Context(), "c", svc); err != nil {
		t.Error(err)
	}
	if _, exists, _ := b.GetLoadBalancer(t.Context(), "c", svc); exists || changes != 2 {
		t.Errorf("after deletion it exists: %t; %d changes were reported, want 2", exists, changes)
	}
}
