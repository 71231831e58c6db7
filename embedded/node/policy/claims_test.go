package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// TestClaims: what the plugin reports overrides what the API shows.
func TestClaims(t *testing.T) {
	claim := func(name, uid, addr string) Claim {
		return Claim{Namespace: "x", Name: name, UID: uid, Addrs: []netip.Addr{netip.MustParseAddr(addr)}}
	}
	pod := func(name, addr string) *corev1.Pod { return labPod("x", name, "n1", addr) }
	mirror := pod("g", "")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "static"}
	c := newClaims()
	steps := []struct {
		name string
		do   func()
		api  []*corev1.Pod
		want string
	}{
		{"no claims", func() {}, []*corev1.Pod{pod("a", "10.0.0.1"), pod("b", "")}, "a[10.0.0.1] b[]"},
		{"claimed before the API shows it", func() { c.hold(claim("b", "xb", "10.0.0.2")) },
			[]*corev1.Pod{pod("a", "10.0.0.1"), pod("b", "")}, "a[10.0.0.1] b[10.0.0.2]"},
		{"the API shows it", func() {}, []*corev1.Pod{pod("b", "10.0.0.2")}, "b[10.0.0.2]"},
		{"a new sandbox has a new address, the API shows the old one", func() { c.hold(claim("b", "xb", "10.0.0.3")) },
			[]*corev1.Pod{pod("b", "10.0.0.2")}, "b[10.0.0.3]"},
		{"another pod gets an address that the API still shows for the old one", func() { c.hold(claim("c", "xc", "10.0.0.1")) },
			[]*corev1.Pod{pod("a", "10.0.0.1"), pod("c", "")}, "a[] c[10.0.0.1]"},
		{"an older pod of the same name is released", func() { c.release(claim("c", "older", "10.0.0.1")) },
			[]*corev1.Pod{pod("c", "")}, "c[10.0.0.1]"},
		{"released", func() { c.release(claim("c", "xc", "10.0.0.1")) }, []*corev1.Pod{pod("c", "10.0.0.1")}, "c[]"},
		{"deleted, and a claim of it dropped", func() {}, []*corev1.Pod{pod("d", "")}, "d[]"},
		{"no claims left", func() {}, []*corev1.Pod{pod("c", "10.0.0.1"), pod("b", "10.0.0.9")}, "c[10.0.0.1] b[10.0.0.9]"},
		{"a claim waits for its pod", func() { c.hold(claim("e", "xe", "10.0.0.5")) }, nil, ""},
		{"and finds it", func() {}, []*corev1.Pod{pod("e", "")}, "e[10.0.0.5]"},
		{"a claim of an earlier pod does not apply", func() { c.hold(claim("f", "other", "10.0.0.6")) },
			[]*corev1.Pod{pod("f", "10.0.0.7")}, "f[10.0.0.7]"},
		{"a static pod is claimed by its own UID, an annotation of its mirror", func() { c.hold(claim("g", "static", "10.0.0.8")) },
			[]*corev1.Pod{mirror}, "g[10.0.0.8]"},
	}
	for _, s := range steps {
		s.do()
		var before []string
		for _, p := range s.api {
			before = append(before, p.Status.String())
		}
		var got []string
		for _, p := range c.overlay(s.api) {
			got = append(got, fmt.Sprintf("%s%v", p.Name, apiAddrs(p)))
		}
		if diff := cmp.Diff(s.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
		for i, p := range s.api {
			if p.Status.String() != before[i] {
				t.Errorf("%s: the API's object of pod %s was changed", s.name, p.Name)
			}
		}
	}
}
