package policytest_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster/policy"
	"github.com/klkube/kl/cluster/policy/policytest"
)

func ExampleObjects() {
	o := policytest.Objects([]byte("any bytes"))
	m := policy.Compile(o, policy.Options{Gateway: netip.MustParseAddr(policytest.Gateway)})
	fmt.Println(len(o.Nodes), m.Describe(netip.MustParseAddr(policytest.Gateway)))
	// Output: 2 gateway
}

func TestObjectsAreAFunctionOfTheInput(t *testing.T) {
	seen := map[string]bool{}
	for i := range 64 {
		data := []byte{byte(i), byte(i * 5), byte(i * 11)}
		a, b := policytest.Objects(data), policytest.Objects(data)
		if diff := cmp.Diff(a, b); diff != "" {
			t.Fatalf("two clusters of one input differ:\n%s", diff)
		}
		if len(a.Pods) < 3 || len(a.Pods) > 10 || len(a.Policies) > 5 || len(a.Nodes) != 2 {
			t.Errorf("input %v: %d pods, %d policies, %d nodes", data, len(a.Pods), len(a.Policies), len(a.Nodes))
		}
		seen[policy.Compile(a, policy.Options{}).String()] = true
	}
	if len(seen) < 60 {
		t.Errorf("64 inputs made %d different clusters", len(seen))
	}
}

// TestObjectsCoverEdgeCases holds what a fuzzer relies on: the cases that tests are there for do come up.
func TestObjectsCoverEdgeCases(t *testing.T) {
	found := map[string]bool{}
	for i := range 256 {
		o := policytest.Objects([]byte{byte(i), byte(i * 7), byte(i * 31)})
		addrs := map[string]bool{}
		for _, p := range o.Pods {
			found["host network"] = found["host network"] || p.Spec.HostNetwork
			found["terminating"] = found["terminating"] || p.DeletionTimestamp != nil
			found["no address"] = found["no address"] || p.Status.PodIP == ""
			found["shared address"] = found["shared address"] || !p.Spec.HostNetwork && addrs[p.Status.PodIP]
			addrs[p.Status.PodIP] = p.Status.PodIP != ""
		}
		found["unknown namespace"] = found["unknown namespace"] || len(o.Namespaces) < 3
		found["problem"] = found["problem"] || len(policy.Compile(o, policy.Options{}).Problems) > 0
		if list := policytest.Addrs(o); !slices.Contains(list, policytest.Gateway) || len(list) < 8 {
			t.Errorf("addresses: %v", list)
		}
	}
	for _, what := range []string{"host network", "terminating", "no address", "shared address", "unknown namespace", "problem"} {
		if !found[what] {
			t.Errorf("no cluster has the case %q", what)
		}
	}
}

func TestLargeHasTheAskedSize(t *testing.T) {
	o := policytest.Large(500, 30)
	m := policy.Compile(o, policy.Options{})
	if len(m.Pods) != 500 || len(m.Policies) != 30 || len(o.Namespaces) != 10 || len(m.Problems) != 0 {
		t.Errorf("%d pods, %d policies, %d namespaces, problems %v", len(m.Pods), len(m.Policies), len(o.Namespaces), m.Problems)
	}
	selected := 0
	for _, p := range m.Pods {
		if p.Ingress != nil {
			selected++
		}
	}
	if selected == 0 || selected == len(m.Pods) {
		t.Errorf("%d of %d pods are isolated, want some", selected, len(m.Pods))
	}
}
