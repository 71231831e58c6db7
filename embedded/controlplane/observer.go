package controlplane

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// observer tells the board what `kl up` waits for, and the tunnel which node owns which addresses.
type observer struct {
	world  *world
	logger *slog.Logger
}

var _ lifecycle.Component = (*observer)(nil)

func (o *observer) Name() cluster.ComponentName { return Observer }

// Run is ready once the nodes are known.
func (o *observer) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	w := o.world
	wg.Go(func() {
		if awaitAnswer(ctx, w.admin, "/readyz") == nil {
			w.board.update(func(s *cluster.Status) { s.Ready.API = true })
		}
	})
	wg.Go(func() {
		if awaitDefaultServiceAccount(ctx, w.client) == nil {
			w.board.update(func(s *cluster.Status) { s.Ready.DefaultServiceAccount = true })
		}
	})
	wg.Go(func() {
		probe := &dnsProbe{client: w.client, dial: w.hub.DialAddress, logger: o.logger}
		if probe.run(ctx) == nil {
			w.board.update(func(s *cluster.Status) { s.Ready.DNS = true })
		}
	})
	wg.Go(func() { o.settle(ctx) })

	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(w.client.CoreV1().RESTClient(), "nodes", metav1.NamespaceAll, fields.Everything()),
		ObjectType:    &corev1.Node{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(n any) { o.route(n.(*corev1.Node)); poke() },
			UpdateFunc: func(_, n any) {
				o.route(n.(*corev1.Node))
				poke()
			},
			DeleteFunc: func(n any) {
				if name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(n); err == nil {
					w.routes.Set(name)
				}
				poke()
			},
		},
		Transform: trimNode,
	})
	wg.Go(func() { informer.RunWithContext(ctx) })
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return ctx.Err()
	}
	ready()
	for {
		connected, reconnected := w.hub.Watch()
		nodes, simulated := split(store.List())
		status := nodeStatuses(nodes, connected)
		w.board.update(func(s *cluster.Status) { s.Nodes, s.Simulated = status, simulated })
		select {
		case <-changed:
		case <-reconnected:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// split returns the real Nodes and counts the simulated ones.
func split(objects []any) (nodes []*corev1.Node, simulated cluster.SimulatedStatus) {
	for _, o := range objects {
		n := o.(*corev1.Node)
		if !cluster.IsSimulated(n.Labels) {
			nodes = append(nodes, n)
			continue
		}
		simulated.Nodes++
		if nodeStatus(n).Ready {
			simulated.Ready++
		}
	}
	return nodes, simulated
}

// settle ends the garbage collector's holiday a moment after every component serves.
func (o *observer) settle(ctx context.Context) {
	for {
		status, changed := o.world.board.read()
		if status.Phase == cluster.PhaseReady && status.Ready.DefaultServiceAccount {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
	select { // nodes that join want the processor now
	case <-time.After(settleAfter):
		tuneServing()
	case <-ctx.Done():
	}
}

// settleAfter is when the control plane, once ready, cleans up after its start.
const settleAfter = 3 * time.Second

// trimNode drops what nobody here reads: half of a Node is field ownership and images.
func trimNode(obj any) (any, error) {
	if n, ok := obj.(*corev1.Node); ok {
		n.ManagedFields, n.Status.Images, n.Annotations = nil, nil, nil
	}
	return obj, nil
}

// route tells the tunnel which addresses are the node's: its own and its pods'.
func (o *observer) route(n *corev1.Node) {
	if !cluster.IsSimulated(n.Labels) {
		o.world.routes.Set(n.Name, owned(n)...)
	}
}

func owned(n *corev1.Node) []netip.Prefix {
	var prefixes []netip.Prefix
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			prefixes = append(prefixes, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	for _, cidr := range n.Spec.PodCIDRs {
		if p, err := netip.ParsePrefix(cidr); err == nil {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

// nodeStatuses joins the Nodes of the API with the names of the nodes whose tunnel is up, ordered by name, n2 before n10.
func nodeStatuses(nodes []*corev1.Node, connected []string) []cluster.NodeStatus {
	byName := map[string]cluster.NodeStatus{}
	for _, n := range nodes {
		byName[n.Name] = nodeStatus(n)
	}
	for _, name := range connected {
		s := byName[name]
		s.Name, s.Connected = name, true
		byName[name] = s
	}
	list := make([]cluster.NodeStatus, 0, len(byName))
	for _, s := range byName {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b cluster.NodeStatus) int {
		if len(a.Name) != len(b.Name) {
			return len(a.Name) - len(b.Name)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}

func nodeStatus(n *corev1.Node) cluster.NodeStatus {
	s := cluster.NodeStatus{
		Name: n.Name, Registered: true, Kubelet: n.Status.NodeInfo.KubeletVersion,
		Reason: "kubelet has not reported yet",
	}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP && s.IP == "" {
			s.IP = a.Address
		}
	}
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		s.Ready = c.Status == corev1.ConditionTrue
		s.Reason = ""
		if !s.Ready {
			s.Reason = c.Reason + ": " + c.Message
		}
	}
	return s
}
