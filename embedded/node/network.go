package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/knftables"

	"github.com/klkube/kl/cluster"
)

// network keeps the node's network in line with the cluster's Nodes: its own pod range in the CNI configuration, a route to
// the pods of each other node, and the masquerade rule.
type network struct {
	config cluster.NodeConfig
	uplink uplink
	log    *slog.Logger
	began  time.Time // a heartbeat of the own Node before this is from an earlier run

	hasNode   chan struct{} // closed when the own Node has an address
	nodeReady chan struct{} // closed when the own Node is Ready for the first time
	onceNode  sync.Once
	onceReady sync.Once
}

// networkRetry is the pause after a change that could not be applied.
const networkRetry = time.Second

func newNetwork(c cluster.NodeConfig, up uplink, log *slog.Logger) *network {
	began := time.Now().Truncate(time.Second) // the resolution of a Node's timestamps
	return &network{config: c, uplink: up, log: log, began: began, hasNode: make(chan struct{}), nodeReady: make(chan struct{})}
}

func (n *network) Name() cluster.ComponentName { return "network" }

// Run is ready when it has listed the Nodes. The node's own may not be among them yet.
func (n *network) Run(ctx context.Context, ready func()) error {
	client, err := nodeClient("kl-agent")
	if err != nil {
		return err
	}
	nft, err := knftables.New(knftables.IPv4Family, masqueradeTable)
	if err != nil {
		return fmt.Errorf("find nft: %w", err)
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trimNode))
	nodes := factory.Core().V1().Nodes()
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default: // a change is pending already
		}
	}
	if _, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), nodes.Informer().HasSynced) {
		return ctx.Err()
	}
	ready()
	return n.follow(ctx, nodes.Lister(), nft, changed)
}

// follow applies the nodes whenever one has changed, and again after a failure.
func (n *network) follow(ctx context.Context, nodes corelisters.NodeLister, nft knftables.Interface, changed <-chan struct{}) error {
	var masqueraded []netip.Addr
	for {
		list, err := nodes.List(labels.Everything())
		if err != nil {
			return err
		}
		masqueraded, err = n.apply(ctx, list, nft, masqueraded)
		var retry <-chan time.Time
		if err != nil {
			n.log.Warn("apply network, retrying", "err", err)
			retry = time.After(networkRetry)
		}
		select {
		case <-changed:
		case <-retry:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// apply brings the node in line with the list. excluded are the addresses that the masquerade rule excludes so far; it
// returns those that the rule excludes now.
func (n *network) apply(ctx context.Context, list []*corev1.Node, nft knftables.Interface, excluded []netip.Addr) ([]netip.Addr, error) {
	self := n.self(list)
	if n.config.CNI != "kl" {
		return nil, nil
	}
	var errs []error
	if cidr, ok := podRange(self); ok {
		errs = append(errs, n.writeCNI(cidr))
	}
	addrs := nodeAddresses(list)
	if excluded == nil || !slices.Equal(excluded, addrs) {
		if err := writeMasquerade(ctx, nft, n.config.PodCIDR, addrs); err != nil {
			errs = append(errs, fmt.Errorf("write masquerade rule: %w", err))
		} else {
			excluded = addrs
		}
	}
	changed, err := applyRoutes(wantedRoutes(n.config.Name, list))
	if changed > 0 {
		n.log.Info("changed routes", "count", changed, "nodes", len(list))
	}
	return excluded, errors.Join(append(errs, err)...)
}

// self returns the own Node, empty if it does not exist, and closes hasNode and nodeReady.
func (n *network) self(list []*corev1.Node) *corev1.Node {
	for _, node := range list {
		if node.Name != n.config.Name {
			continue
		}
		if _, ok := internalIP(node); ok {
			n.onceNode.Do(func() { close(n.hasNode) })
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue && !c.LastHeartbeatTime.Time.Before(n.began) {
				n.onceReady.Do(func() { close(n.nodeReady) })
			}
		}
		return node
	}
	return &corev1.Node{}
}

func (n *network) writeCNI(podCIDR netip.Prefix) error {
	data, err := cniConfig(podCIDR, n.uplink, enforces(n.config))
	if err != nil {
		return err
	}
	changed, err := replaceFile(cniFile, data, os.FileMode(0o644))
	if err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	if changed {
		n.log.Info("wrote CNI configuration", "podCIDR", podCIDR)
	}
	return nil
}

// trimNode removes what the agent never reads from a Node before it is cached.
func trimNode(obj any) (any, error) {
	if node, ok := obj.(*corev1.Node); ok {
		node.ManagedFields, node.Annotations = nil, nil
		node.Status.Images, node.Status.VolumesInUse, node.Status.VolumesAttached = nil, nil, nil
	}
	return obj, nil
}
