package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/miekg/dns"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
)

// dnsProbe waits until the cluster's DNS answers. It watches the endpoints of kube-dns, so a cluster without nodes costs
// nothing.
type dnsProbe struct {
	client kubernetes.Interface
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	logger *slog.Logger
}

const (
	dnsRetry   = 100 * time.Millisecond
	dnsTimeout = 2 * time.Second
)

// run returns nil once an endpoint of kube-dns has resolved kubernetes.default, or ctx's error.
func (p *dnsProbe) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	defer func() { <-done }()
	defer cancel()
	changed := latest.New(struct{}{})
	note := func(any) { changed.Set(struct{}{}) }
	lw := cache.NewFilteredListWatchFromClient(p.client.DiscoveryV1().RESTClient(), "endpointslices", metav1.NamespaceSystem,
		func(o *metav1.ListOptions) {
			o.LabelSelector = labels.Set{discoveryv1.LabelServiceName: "kube-dns"}.String()
		})
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: lw, ObjectType: &discoveryv1.EndpointSlice{},
		Handler: cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, o any) { note(o) }, DeleteFunc: note},
	})
	go func() {
		defer close(done)
		informer.RunWithContext(ctx)
	}()
	for {
		_, more := changed.Get()
		var retry <-chan time.Time // nil, and so never, without an endpoint
		for _, address := range dnsEndpoints(store.List()) {
			err := p.ask(ctx, address)
			if err == nil {
				return nil
			}
			p.logger.DebugContext(ctx, "cluster DNS does not answer yet", "endpoint", address, "error", err)
			retry = time.After(dnsRetry)
		}
		select {
		case <-more:
		case <-retry:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// dnsEndpoints returns the addresses of the ready endpoints, with the port of DNS over TCP.
func dnsEndpoints(slices []any) []string {
	var addresses []string
	for _, s := range slices {
		slice := s.(*discoveryv1.EndpointSlice)
		port := ""
		for _, p := range slice.Ports {
			if p.Name != nil && *p.Name == "dns-tcp" && p.Port != nil {
				port = fmt.Sprint(*p.Port)
			}
		}
		for _, e := range slice.Endpoints {
			if port != "" && len(e.Addresses) > 0 && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				addresses = append(addresses, net.JoinHostPort(e.Addresses[0], port))
			}
		}
	}
	return addresses
}

// ask does one lookup over TCP, through the tunnel.
func (p *dnsProbe) ask(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	conn, err := p.dial(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	query := new(dns.Msg)
	query.SetQuestion("kubernetes.default.svc."+cluster.ClusterDomain+".", dns.TypeA)
	c := &dns.Conn{Conn: conn}
	if err := c.WriteMsg(query); err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	answer, err := c.ReadMsg()
	if err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("read answer: %w", err))
	}
	if answer.Id != query.Id || answer.Rcode != dns.RcodeSuccess || len(answer.Answer) == 0 {
		return fmt.Errorf("answer is %s with %d records", dns.RcodeToString[answer.Rcode], len(answer.Answer))
	}
	return nil
}
