package balance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	cloudproviderapi "k8s.io/cloud-provider/api"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
	"github.com/klkube/kl/embedded/controlplane/await"
)

const (
	// probeInterval is the time between health checks, while any Service needs them.
	probeInterval = 250 * time.Millisecond
	// startupInterval replaces probeInterval while a health check may pass any moment.
	startupInterval = 50 * time.Millisecond
	// resyncInterval is how often nodes are told their addresses although nothing has changed.
	resyncInterval = 10 * time.Second
	// reconnectTimeout is how long nodes may take to connect after a start of the control plane before others get their
	// addresses.
	reconnectTimeout = 3 * time.Second
)

// Options is what a Balancer needs. All fields are required.
type Options struct {
	Layout    cluster.Layout
	Hub       Hub
	Addresses *Addresses
	Nodes     corelisters.NodeLister
	Services  corelisters.ServiceLister
	Slices    discoverylisters.EndpointSliceLister
	// Changed changes with every change of addresses and of what the listers return.
	Changed *latest.Value[struct{}]
	Logger  *slog.Logger
}

// Balancer assigns addresses to nodes.
type Balancer struct {
	Options
	announcer *announcer
}

// New returns a Balancer; it does nothing before Run.
func New(o Options) *Balancer { return &Balancer{Options: o, announcer: newAnnouncer(o.Hub, o.Logger)} }

// Run works until ctx is done. The nodes keep their addresses then.
func (b *Balancer) Run(ctx context.Context) error {
	if err := b.awaitNodes(ctx); err != nil {
		return err
	}
	connected, _ := b.Hub.Watch()
	b.announcer.restore(ctx, connected)
	timer := time.NewTimer(resyncInterval)
	defer timer.Stop()
	resynced := time.Now()
	for {
		connected, reconnected := b.Hub.Watch()
		_, changed := b.Changed.Get()
		if time.Since(resynced) >= resyncInterval {
			b.announcer.invalidate()
			resynced = time.Now()
		}
		wait, err := b.reconcile(ctx, connected)
		if err != nil {
			return err
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-timer.C:
		case <-reconnected:
			b.announcer.invalidate()
		}
	}
}

// awaitNodes returns when every node that should be on is connected, or after reconnectTimeout.
func (b *Balancer) awaitNodes(ctx context.Context) error {
	timeout := time.NewTimer(reconnectTimeout)
	defer timeout.Stop()
	for {
		connected, changed := b.Hub.Watch()
		complete, err := b.complete(connected)
		if complete || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-timeout.C:
			return nil
		}
	}
}

// complete reports whether every node that was not stopped on purpose is connected.
func (b *Balancer) complete(connected []string) (bool, error) {
	entries, err := os.ReadDir(b.Layout.NodeDir(""))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil // a cluster without nodes
	}
	if err != nil {
		return false, fmt.Errorf("list nodes: %w", err)
	}
	for _, e := range entries {
		_, err := os.Stat(b.Layout.NodeStoppedFile(e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("look up node: %w", err)
		}
		if err != nil && !slices.Contains(connected, e.Name()) {
			return false, nil
		}
	}
	return true, nil
}

// reconcile assigns the addresses and tells the nodes. It returns the time until the next call at the latest.
func (b *Balancer) reconcile(ctx context.Context, connected []string) (time.Duration, error) {
	nodes, err := b.Nodes.List(labels.Everything())
	if err != nil {
		return 0, err
	}
	var candidates []candidate
	internal := map[string]netip.Addr{}
	for _, n := range nodes {
		if slices.Contains(connected, n.Name) {
			candidates = append(candidates, candidate{name: n.Name, ready: mayHold(n)})
			internal[n.Name], _ = internalIP(n)
		}
	}
	services, checks, err := b.list(internal)
	if err != nil {
		return 0, err
	}
	wait := b.probe(ctx, services, checks)
	if !b.announcer.apply(ctx, assign(b.announcer.current, services, candidates), connected) {
		wait = min(wait, probeInterval)
	}
	return wait, nil
}

// list returns the Services that have addresses and, for the Local ones, the health checks by address and node. internal
// maps connected nodes to their own addresses.
func (b *Balancer) list(internal map[string]netip.Addr) ([]service, map[netip.Addr]map[string]check, error) {
	var services []service
	checks := map[netip.Addr]map[string]check{}
	for addr, key := range b.Addresses.all() {
		svc, err := b.Services.Services(key.Namespace).Get(key.Name)
		if apierrors.IsNotFound(err) {
			continue // the address is about to be released
		}
		if err != nil {
			return nil, nil, err
		}
		local := svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
		services = append(services, service{addr: addr, local: local, health: map[string]verdict{}})
		if !local {
			continue
		}
		endpoints, err := b.endpoints(key)
		if err != nil {
			return nil, nil, err
		}
		checks[addr] = map[string]check{}
		for _, node := range endpoints {
			if ip := internal[node]; ip.IsValid() {
				port := netip.AddrPortFrom(ip, uint16(svc.Spec.HealthCheckNodePort))
				checks[addr][node] = check{node: node, url: "http://" + port.String() + "/healthz"}
			}
		}
	}
	return services, checks, nil
}

// probe fills in the health of the Services and returns when to probe again.
func (b *Balancer) probe(ctx context.Context, services []service, checks map[netip.Addr]map[string]check) time.Duration {
	var all []check
	for _, byNode := range checks {
		all = slices.AppendSeq(all, maps.Values(byNode))
	}
	verdicts := b.announcer.probeAll(ctx, all)
	wait := resyncInterval
	for _, s := range services {
		if s.local {
			wait = min(wait, probeInterval)
		}
		for node, c := range checks[s.addr] {
			s.health[node] = verdicts[c]
			if b.announcer.starting(c) {
				wait = startupInterval
			}
		}
	}
	return wait
}

// endpoints returns the nodes on which a Service has ready endpoints.
func (b *Balancer) endpoints(key types.NamespacedName) ([]string, error) {
	list, err := b.Slices.EndpointSlices(key.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: key.Name}))
	if err != nil {
		return nil, err
	}
	var nodes []string
	for _, s := range list {
		for _, e := range s.Endpoints {
			ready := e.Conditions.Ready == nil || *e.Conditions.Ready
			if ready && e.NodeName != nil && !slices.Contains(nodes, *e.NodeName) {
				nodes = append(nodes, *e.NodeName)
			}
		}
	}
	slices.Sort(nodes)
	return nodes, nil
}

// mayHold reports whether a node may be given addresses: it is Ready, and upstream's rules for backends of load balancers
// do not exclude it.
func mayHold(n *corev1.Node) bool {
	if v, has := n.Labels[corev1.LabelNodeExcludeBalancers]; has {
		if exclude, err := strconv.ParseBool(v); err != nil || exclude {
			return false
		}
	}
	uninitialized := slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool {
		return t.Key == cloudproviderapi.TaintExternalCloudProvider
	})
	return n.DeletionTimestamp == nil && !uninitialized && await.Ready(n)
}
