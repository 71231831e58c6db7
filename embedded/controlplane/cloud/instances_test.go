package cloud

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cloudprovider "k8s.io/cloud-provider"

	"github.com/klkube/kl/cluster"
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
		{node: "somebody-elses", exists: true},
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
	i := &instances{layout: cluster.Home(t.TempDir()).Cluster("c"), driver: "embedded"}
	n := testNode("n1", 2)
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
		svc := testService("a", "")
		svc.Spec.LoadBalancerClass = c.class
		if _, err := trim(svc); err != nil || svc.Spec.LoadBalancerClass != c.want {
			t.Errorf("class %v, error %v; want %v", svc.Spec.LoadBalancerClass, err, c.want)
		}
	}
	s := testSlice("a", "n1")
	s.Endpoints[0].Addresses, s.Ports = []string{"10.244.0.2"}, []discoveryv1.EndpointPort{{}}
	if _, err := trim(s); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(testSlice("a", "n1"), s); d != "" {
		t.Errorf("slice (-want +got):\n%s", d)
	}
}
