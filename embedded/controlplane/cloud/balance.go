package cloud

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	cloudproviderapi "k8s.io/cloud-provider/api"

	"github.com/klkube/kl/cluster"
)

const (
	// probeInterval is between health checks, while any Service wants them.
	probeInterval = 250 * time.Millisecond
	// hurry is the interval while a health check is about to pass.
	hurry = 50 * time.Millisecond
	// idle is the interval at which nodes are reminded although nothing has changed.
	idle = 10 * time.Second
	// settle is how long nodes may take to come back after the control plane was away, before their addresses are given
	// to others.
	settle = 3 * time.Second
)

// balancing keeps every address on a node that serves it.
type balancing struct {
	layout    cluster.Layout
	hub       Hub
	balancers *balancers
	holders   *holders
	nodes     corelisters.NodeLister
	services  corelisters.ServiceLister
	slices    discoverylisters.EndpointSliceLister
	changed   <-chan struct{} // of size 1
}

// run works until ctx is done. Addresses stay with the nodes then.
func (b *balancing) run(ctx context.Context) error {
	if err := b.await(ctx); err != nil {
		return err
	}
	connected, _ := b.hub.Watch()
	b.holders.recall(ctx, connected)
	timer := time.NewTimer(idle)
	defer timer.Stop()
	reminded := time.Now()
	for {
		connected, reconnected := b.hub.Watch()
		if time.Since(reminded) >= idle {
			b.holders.forget()
			reminded = time.Now()
		}
		wait, err := b.once(ctx, connected)
		if err != nil {
			return err
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-b.changed:
		case <-timer.C:
		case <-reconnected:
			b.holders.forget()
		}
	}
}

// await returns when every node that should be on is connected, or has had its time.
func (b *balancing) await(ctx context.Context) error {
	patience := time.NewTimer(settle)
	defer patience.Stop()
	for {
		connected, changed := b.hub.Watch()
		if b.complete(connected) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-patience.C:
			return nil
		}
	}
}

func (b *balancing) complete(connected []string) bool {
	entries, err := os.ReadDir(b.layout.NodeDir(""))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	for _, e := range entries {
		if off, _ := isThere(b.layout.NodeStoppedFile(e.Name())); !off && !slices.Contains(connected, e.Name()) {
			return false
		}
	}
	return true
}

// once looks at everything and acts. It tells when to look again at the latest.
func (b *balancing) once(ctx context.Context, connected []string) (time.Duration, error) {
	nodes, err := b.nodes.List(labels.Everything())
	if err != nil {
		return 0, err
	}
	var machines []machine
	addresses := map[string]netip.Addr{}
	for _, n := range nodes {
		if slices.Contains(connected, n.Name) {
			machines = append(machines, machine{name: n.Name, ready: isFit(n)})
			addresses[n.Name], _ = internalIP(n)
		}
	}
	wait := idle
	var list []balancer
	asked := map[netip.Addr]map[string]check{}
	var checks []check
	for addr, key := range b.balancers.addresses() {
		svc, err := b.services.Services(key.Namespace).Get(key.Name)
		if err != nil {
			continue // it is about to be taken back
		}
		local := svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
		list = append(list, balancer{addr: addr, local: local, health: map[string]verdict{}})
		if !local {
			continue
		}
		wait = min(wait, probeInterval)
		asked[addr] = map[string]check{}
		for _, node := range b.endpoints(key) {
			if a := addresses[node]; a.IsValid() {
				c := check{node: node, url: "http://" + netip.AddrPortFrom(a, uint16(svc.Spec.HealthCheckNodePort)).String() + "/healthz"}
				asked[addr][node] = c
				checks = append(checks, c)
			}
		}
	}
	verdicts := b.holders.examine(ctx, checks)
	for _, l := range list {
		for node, c := range asked[l.addr] {
			l.health[node] = verdicts[c]
			if b.holders.impatient(c) {
				wait = hurry
			}
		}
	}
	next := assign(b.holders.current, list, machines)
	if !b.holders.apply(ctx, next, connected) {
		wait = min(wait, probeInterval)
	}
	return wait, nil
}

// endpoints are the nodes on which a Service has ready endpoints.
func (b *balancing) endpoints(key types.NamespacedName) []string {
	list, err := b.slices.EndpointSlices(key.Namespace).List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: key.Name}))
	if err != nil {
		return nil
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
	return nodes
}

// isFit tells whether a node may hold addresses: upstream's rules for backends of load balancers, and it is Ready.
func isFit(n *corev1.Node) bool {
	if v, has := n.Labels[corev1.LabelNodeExcludeBalancers]; has {
		if no, err := strconv.ParseBool(v); err != nil || no {
			return false
		}
	}
	if n.DeletionTimestamp != nil {
		return false
	}
	for _, t := range n.Spec.Taints {
		if t.Key == cloudproviderapi.TaintExternalCloudProvider {
			return false
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
