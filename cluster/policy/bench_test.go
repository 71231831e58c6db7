package policy_test

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/policy"
	"github.com/klkube/kl/cluster/policy/policytest"
)

func BenchmarkCompile(b *testing.B) {
	for _, pods := range []int{50, 500, 5000} {
		b.Run(fmt.Sprintf("%dx100", pods), func(b *testing.B) {
			o := policytest.Large(pods, 100)
			b.ReportAllocs()
			for b.Loop() {
				policy.Compile(o, policy.Options{})
			}
		})
	}
}

func BenchmarkVerdict(b *testing.B) {
	m := policy.Compile(policytest.Large(5000, 100), policy.Options{})
	from, to := netip.MustParseAddr("10.244.0.5"), netip.MustParseAddr("10.244.7.9")
	for b.Loop() {
		m.Verdict(from, to, corev1.ProtocolTCP, 8080)
	}
}
