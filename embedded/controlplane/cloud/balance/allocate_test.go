package balance

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestChoose(t *testing.T) {
	self, other := types.NamespacedName{Namespace: "d", Name: "self"}, types.NamespacedName{Namespace: "d", Name: "other"}
	r := addressRange{addr(200), addr(202)}
	for _, c := range []struct {
		name       string
		want, have netip.Addr
		held       map[netip.Addr]types.NamespacedName
		answer     netip.Addr
		err        string
	}{
		{name: "the first", answer: addr(200)},
		{name: "the first that is free", held: map[netip.Addr]types.NamespacedName{addr(200): other}, answer: addr(201)},
		{name: "the one it has", have: addr(202), held: map[netip.Addr]types.NamespacedName{addr(202): self}, answer: addr(202)},
		{name: "the one it had", have: addr(202), answer: addr(202)},
		{name: "not one it had that is another's now", have: addr(202), held: map[netip.Addr]types.NamespacedName{addr(202): other}, answer: addr(200)},
		{name: "not one of another network", have: netip.MustParseAddr("10.1.1.1"), answer: addr(200)},
		{name: "the requested", want: addr(201), have: addr(200), held: map[netip.Addr]types.NamespacedName{addr(200): self}, answer: addr(201)},
		{name: "taken", want: addr(201), held: map[netip.Addr]types.NamespacedName{addr(201): other}, err: "10.246.0.201 is taken by Service d/other"},
		{name: "outside", want: addr(199), err: "10.246.0.199 is outside of the load balancers' range 10.246.0.200-10.246.0.202"},
		{name: "full", held: map[netip.Addr]types.NamespacedName{addr(200): other, addr(201): other, addr(202): other}, err: "every address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, err := choose(r, c.want, c.have, self, c.held)
			if answer != c.answer || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("address %v, error %v; want %v, %q", answer, err, c.answer, c.err)
			}
		})
	}
}

func TestRequested(t *testing.T) {
	for _, c := range []struct{ field, note, want, err string }{
		{"", "", "invalid IP", ""},
		{"10.246.0.200", "", "10.246.0.200", ""},
		{"", "10.246.0.200", "10.246.0.200", ""},
		{"10.246.0.200", "10.246.0.200", "10.246.0.200", ""},
		{"10.246.0.200", "10.246.0.201", "invalid IP", "contradict"},
		{"fd00::1", "", "invalid IP", "spec.loadBalancerIP"},
		{"", "router", "invalid IP", AddressAnnotation},
	} {
		svc := &corev1.Service{}
		svc.Spec.LoadBalancerIP = c.field
		if c.note != "" {
			svc.Annotations = map[string]string{AddressAnnotation: c.note}
		}
		a, err := Requested(svc)
		if a.String() != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("field %q, annotation %q: %v, error %v", c.field, c.note, a, err)
		}
	}
}
