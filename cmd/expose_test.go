package cmd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestChoosePorts(t *testing.T) {
	udp := corev1.ServicePort{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53}
	http := corev1.ServicePort{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}
	https := corev1.ServicePort{Name: "https", Port: 443}
	for _, c := range []struct {
		name  string
		ports []corev1.ServicePort
		flags []publishFlag
		want  []published
		err   string
	}{
		{"every TCP port", []corev1.ServicePort{udp, http, https}, nil, []published{{80, 80}, {443, 443}}, ""},
		{"the only TCP port", []corev1.ServicePort{udp, http}, []publishFlag{{8080, ""}}, []published{{8080, 80}}, ""},
		{"by number and by name", []corev1.ServicePort{http, https}, []publishFlag{{8080, "80"}, {8443, "https"}}, []published{{8080, 80}, {8443, 443}}, ""},
		{"ambiguous", []corev1.ServicePort{http, https}, []publishFlag{{8080, ""}}, nil, "several TCP ports: use HOST:PORT with one of 80, 443"},
		{"no such port", []corev1.ServicePort{http}, []publishFlag{{8080, "81"}}, nil, `no TCP port "81": it has 80`},
		{"a UDP port", []corev1.ServicePort{http, udp}, []publishFlag{{8053, "dns"}}, nil, `no TCP port "dns"`},
		{"no TCP port", []corev1.ServicePort{udp}, nil, nil, "no TCP port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc := &corev1.Service{Spec: corev1.ServiceSpec{Ports: c.ports}}
			have, err := choosePorts(svc, c.flags)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("error %v, want %q", err, c.err)
			}
			if d := cmp.Diff(c.want, have, cmp.AllowUnexported(published{})); d != "" {
				t.Errorf("ports (-want +got):\n%s", d)
			}
		})
	}
}
