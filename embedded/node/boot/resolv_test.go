package boot

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPodResolvConf(t *testing.T) {
	for _, tt := range []struct {
		name, node, gateway string
		conf, upstream      string
	}{
		{"plain", "nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch example.org\n", "10.245.0.1",
			"nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch example.org\n", ""},
		{"Docker's own", "# by Docker\nsearch lan\nnameserver 127.0.0.11\noptions edns0 ndots:0\n", "10.245.0.1",
			"nameserver 10.245.0.1\nsearch lan\noptions edns0 ndots:0\n", "127.0.0.11"},
		{"Docker's and another", "nameserver 127.0.0.11\nnameserver 192.0.2.1\n", "10.245.0.1",
			"nameserver 192.0.2.1\n", ""},
		{"Docker's, no gateway", "nameserver 127.0.0.11\n", "", "", ""},
		{"systemd's stub", "nameserver 127.0.0.53\noptions edns0\n", "10.245.0.1", "options edns0\n", ""},
		{"IPv6 loopback", "nameserver ::1\n", "10.245.0.1", "", ""},
		{"unspecified", "nameserver 0.0.0.0\n", "10.245.0.1", "", ""},
		{"not addresses", "nameserver\nnameserver resolver.example\n\n;nameserver 192.0.2.1\n", "10.245.0.1", "", ""},
		{"scoped address", "nameserver fe80::1%eth0\n", "10.245.0.1", "nameserver fe80::1%eth0\n", ""},
		{"no newline at the end", "nameserver\t192.0.2.1", "", "nameserver 192.0.2.1\n", ""},
		{"empty", "", "10.245.0.1", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conf, upstream := podResolvConf(tt.node, tt.gateway)
			if diff := cmp.Diff([2]string{tt.conf, tt.upstream}, [2]string{conf, upstream}); diff != "" {
				t.Error(diff)
			}
		})
	}
}
