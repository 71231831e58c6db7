package controlplane

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/tunnel"
)

// serviceDialer connects clients of the control plane that upstream gives no egress, such as those of scheduler extenders, and
// the API server's to webhooks of audit events and of authentication, to
// Services and pods, which no route of the machine leads to. All else it leaves to direct.
type serviceDialer struct {
	client      kubernetes.Interface
	serviceCIDR netip.Prefix
	podCIDR     netip.Prefix
	tunnel      tunnel.DialFunc // connects to pods
	direct      tunnel.DialFunc
}

// use makes HTTP clients that are made from now on dial with d, until restore is called. Upstream copies the dialer of
// http.DefaultTransport into the transports of such clients, and knows no other way to change it.
func (d *serviceDialer) use() (restore func()) {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return func() {}
	}
	before := transport.DialContext
	d.direct, transport.DialContext = before, d.dial
	return func() { transport.DialContext = before }
}

func (d *serviceDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	var service *corev1.Service
	if ip, err := netip.ParseAddr(host); err == nil {
		switch {
		case d.podCIDR.Contains(ip):
			return d.tunnel(ctx, network, address)
		case !d.serviceCIDR.Contains(ip):
			return d.direct(ctx, network, address)
		}
		service, err = d.serviceOf(ctx, ip)
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", address, err)
		}
	} else {
		name, namespace, ok := serviceName(host)
		if !ok {
			return d.direct(ctx, network, address)
		}
		service, err = d.client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("dial %s: %w", address, err)
		}
	}
	endpoint, err := d.endpoint(ctx, service, port)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	return d.tunnel(ctx, network, endpoint)
}

// serviceName splits NAME.NAMESPACE.svc, which may be followed by the cluster's domain.
func serviceName(host string) (name, namespace string, ok bool) {
	host = strings.TrimSuffix(strings.TrimSuffix(host, "."), "."+cluster.ClusterDomain)
	parts := strings.Split(host, ".")
	if len(parts) != 3 || parts[2] != "svc" || parts[0] == "" || parts[1] == "" {
		return "", "", false
	}
	return parts[0], parts[1], true
}

func (d *serviceDialer) serviceOf(ctx context.Context, ip netip.Addr) (*corev1.Service, error) {
	list, err := d.client.CoreV1().Services("").List(ctx, metav1.ListOptions{FieldSelector: "spec.clusterIP=" + ip.String()})
	if err != nil {
		return nil, err
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("no Service has the address %s", ip)
	}
	return &list.Items[0], nil
}

// endpoint returns the address of a ready endpoint behind a port of a Service.
func (d *serviceDialer) endpoint(ctx context.Context, service *corev1.Service, port string) (string, error) {
	var portName string
	known := false
	for _, p := range service.Spec.Ports {
		if strconv.Itoa(int(p.Port)) == port {
			portName, known = p.Name, true
		}
	}
	if !known {
		return "", fmt.Errorf("the Service %s/%s has no port %s", service.Namespace, service.Name, port)
	}
	slices, err := d.client.DiscoveryV1().EndpointSlices(service.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: discoveryv1.LabelServiceName + "=" + service.Name,
	})
	if err != nil {
		return "", err
	}
	var ready []string
	for _, s := range slices.Items {
		for _, p := range s.Ports {
			if p.Port == nil || (p.Name == nil && portName != "") || (p.Name != nil && *p.Name != portName) {
				continue
			}
			for _, e := range s.Endpoints {
				if (e.Conditions.Ready == nil || *e.Conditions.Ready) && len(e.Addresses) > 0 {
					ready = append(ready, net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))))
				}
			}
		}
	}
	if len(ready) == 0 {
		return "", fmt.Errorf("the Service %s/%s has no ready endpoint", service.Namespace, service.Name)
	}
	return ready[rand.IntN(len(ready))], nil
}
