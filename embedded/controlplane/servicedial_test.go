package controlplane

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"
)

var errDialed = errors.New("dialed")

func testDialer() (d *serviceDialer, way *string) {
	slice := func(name string, ready bool, addr string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			Ports:      []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To(int32(8080))}, {Name: ptr.To("other"), Port: ptr.To(int32(9))}},
			Endpoints:  []discoveryv1.Endpoint{{Addresses: []string{addr}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		}
	}
	service := func(name, ip string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"},
			Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		}
	}
	dialed := ""
	by := func(way string) func(context.Context, string, string) (net.Conn, error) {
		return func(_ context.Context, _, address string) (net.Conn, error) {
			dialed = way + " " + address
			return nil, errDialed
		}
	}
	return &serviceDialer{
		client:      fake.NewClientset(service("web", "10.96.0.7"), service("empty", "10.96.0.8"), slice("a", false, "10.244.0.1"), slice("b", true, "10.244.0.2")),
		serviceCIDR: netip.MustParsePrefix("10.96.0.0/16"), podCIDR: netip.MustParsePrefix("10.244.0.0/16"),
		tunnel: by("tunnel"), direct: by("direct"),
	}, &dialed
}

func TestServiceDialer(t *testing.T) {
	d, way := testDialer()
	for address, want := range map[string]string{
		"web.ns.svc:80":                   "tunnel 10.244.0.2:8080",
		"web.ns.svc.cluster.local:80":     "tunnel 10.244.0.2:8080",
		"10.244.3.4:99":                   "tunnel 10.244.3.4:99",
		"192.0.2.1:443":                   "direct 192.0.2.1:443",
		"registry.example:443":            "direct registry.example:443",
		"a.b.ns.svc:80":                   "direct a.b.ns.svc:80",
		"web.ns.svc:81":                   "the Service ns/web has no port 81",
		"empty.ns.svc:80":                 "the Service ns/empty has no ready endpoint",
		"gone.ns.svc:80":                  `services "gone" not found`,
		"web.ns.svc":                      "missing port",
		"web.ns.svc.other.example.com:80": "direct web.ns.svc.other.example.com:80",
	} {
		*way = ""
		_, err := d.dial(t.Context(), "tcp", address)
		got := *way
		if got == "" && err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("dial %s: %s, want %s", address, got, want)
		}
	}
}

// A transport that upstream makes for an extender dials through the tunnel while the control plane runs, and not after it.
func TestUpstreamTransportsReachServices(t *testing.T) {
	d, way := testDialer()
	restore := d.use()
	client := http.Client{Transport: utilnet.SetTransportDefaults(&http.Transport{})}
	restore()
	if _, err := client.Get("http://web.ns.svc/filter"); !errors.Is(err, errDialed) || *way != "tunnel 10.244.0.2:8080" { //nolint:noctx,bodyclose // fails
		t.Errorf("%v by %q", err, *way)
	}
	*way = ""
	later := http.Client{Transport: utilnet.SetTransportDefaults(&http.Transport{})}
	if _, err := later.Get("http://web.ns.svc/filter"); err == nil || *way != "" { //nolint:noctx,bodyclose // fails
		t.Errorf("%v by %q", err, *way)
	}
}
