package policy_test

import (
	"net/netip"
	"testing"

	"github.com/klkube/kl/cluster/policy"
	"github.com/klkube/kl/cluster/policy/policytest"
)

// FuzzVerdict compares the model with the oracle for every pair of addresses, protocol and interesting port.
func FuzzVerdict(f *testing.F) {
	for seed := range 64 {
		f.Add([]byte{byte(seed), byte(seed * 7), byte(seed * 31)})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o := policytest.Objects(data)
		m := policy.Compile(o, policy.Options{Gateway: netip.MustParseAddr(policytest.Gateway)})
		want := oracle{o, policytest.Gateway}
		addrs := policytest.Addrs(o)
		for _, from := range addrs {
			for _, to := range addrs {
				for _, proto := range policytest.Protocols() {
					for _, port := range []int32{1, 79, 80, 81, 8080, 65535} {
						v := m.Verdict(netip.MustParseAddr(from), netip.MustParseAddr(to), proto, uint16(port))
						if w := want.allowed(from, to, proto, port); v.Allowed != w {
							t.Fatalf("%s (%s) → %s (%s) %s/%d: model says %v, oracle %v\negress: %s\ningress: %s\n%s", from, v.From,
								to, v.To, proto, port, v.Allowed, w, v.Egress.Text, v.Ingress.Text, m)
						}
					}
				}
			}
		}
	})
}
