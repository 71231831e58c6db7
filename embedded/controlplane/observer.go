package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
	"github.com/klkube/kl/embedded/controlplane/await"
	"github.com/klkube/kl/embedded/lifecycle"
)

// observer fills in the parts of the status that come from the API: nodes, and what `kl up` waits for. It also tells the
// tunnel which node owns which addresses.
type observer struct {
	*shared
	logger *slog.Logger
	report func(error) // nil without a supervisor
}

var (
	_ lifecycle.Component = (*observer)(nil)
	_ lifecycle.Reporter  = (*observer)(nil)
)

func (o *observer) Name() cluster.ComponentName { return Observer }

// Report implements lifecycle.Reporter. What the observer reports is why the cluster's DNS does not answer.
func (o *observer) Report(report func(error)) { o.report = report }

// Run is ready once the nodes are known.
func (o *observer) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	wg.Go(func() { o.observeReadiness(ctx) })
	wg.Go(func() { o.explainDNS(ctx) })
	wg.Go(func() { o.traceDNS(ctx) })
	wg.Go(func() { o.restoreGC(ctx) })

	changed := latest.New(struct{}{})
	note := func() { changed.Set(struct{}{}) }
	view := o.nodes.View(nil)
	defer view.Close()
	handler, err := view.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(n any) { o.route(n.(*corev1.Node)); note() },
		UpdateFunc: func(_, n any) {
			o.route(n.(*corev1.Node))
			note()
		},
		DeleteFunc: func(n any) {
			name, err := cache.DeletionHandlingMetaNamespaceKeyFunc(n)
			if err != nil {
				o.logger.WarnContext(ctx, "remove routes of a node", "error", err)
			} else {
				o.routes.Set(name)
			}
			note()
		},
	})
	if err != nil {
		return fmt.Errorf("watch nodes: %w", err)
	}
	if !cache.WaitFor(ctx, "", handler.HasSyncedChecker()) {
		return ctx.Err()
	}
	ready()
	store := view.Informer().GetStore()
	for {
		connected, reconnected := o.hub.Watch()
		_, more := changed.Get()
		nodes, simulated := split(store.List())
		list := nodeStatuses(nodes, connected)
		o.status.edit(func(s *cluster.Status) { s.Nodes, s.Simulated = list, simulated })
		select {
		case <-more:
		case <-reconnected:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// observeReadiness sets each field of Status.Ready once it is true.
func (o *observer) observeReadiness(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	observe := func(what string, wait func(context.Context) error, set func(*cluster.Readiness)) {
		wg.Go(func() {
			if err := wait(ctx); err == nil {
				o.status.edit(func(s *cluster.Status) {
					if set(&s.Ready); s.Ready.DNS {
						addMoment(s, cluster.DNSAnswers)
					}
				})
			} else if ctx.Err() == nil {
				o.logger.WarnContext(ctx, "cannot observe readiness", "of", what, "error", err)
			}
		})
	}
	observe("API", o.awaitAPI, func(r *cluster.Readiness) { r.API = true })
	observe("default service account", func(ctx context.Context) error { return awaitDefaultServiceAccount(ctx, o.client) },
		func(r *cluster.Readiness) { r.DefaultServiceAccount = true })
	observe("DNS", (&dnsProbe{client: o.client, dial: o.hub.DialAddress, logger: o.logger}).run,
		func(r *cluster.Readiness) { r.DNS = true })
}

// awaitAPI returns when the API server is ready and, in a new cluster, the user's certificate has rights: the authorizer
// learns of their binding a moment after it is made. A user who has taken that binding away is not waited for.
func (o *observer) awaitAPI(ctx context.Context) error {
	if err := await.Answer(ctx, o.admin, "/readyz"); err != nil {
		return err
	}
	user := rest.CopyConfig(o.admin)
	user.CertFile, user.KeyFile = o.layout.PKI("admin.crt"), o.layout.PKI("admin.key")
	err := await.AnswerWithin(ctx, bindingTimeout, user, "/api/v1/namespaces?limit=1")
	if err != nil && ctx.Err() == nil {
		o.logger.WarnContext(ctx, "the administrator's certificate has no rights; the next start restores them", "error", err)
	}
	return ctx.Err()
}

// bindingTimeout is how long the authorizer may take to learn of a binding.
const bindingTimeout = 5 * time.Second

// split returns the real Nodes and counts the simulated ones.
func split(objects []any) (nodes []*corev1.Node, simulated cluster.SimulatedStatus) {
	for _, o := range objects {
		n := o.(*corev1.Node)
		if !cluster.IsSimulated(n.Labels) {
			nodes = append(nodes, n)
			continue
		}
		simulated.Nodes++
		if await.Ready(n) {
			simulated.Ready++
		}
	}
	return nodes, simulated
}

// restoreGC restores the garbage collector's normal settings once the plane has started, and looks after its memory from then on.
func (o *observer) restoreGC(ctx context.Context) {
	_, err := o.status.Wait(ctx, func(s cluster.Status) bool {
		return s.Phase == cluster.PhaseReady && s.Ready.DefaultServiceAccount
	})
	if err != nil {
		return // the plane stops
	}
	select {
	case <-time.After(collectDelay):
		tuneServing()
		releaseIdle(ctx)
	case <-ctx.Done():
	}
}

// collectDelay is how long the first garbage collection waits once the plane is ready: nodes that join need the processor.
const collectDelay = 3 * time.Second

// route tells the tunnel which addresses belong to a node: the one that its driver assigned, whatever its Node says, and those
// of its pods.
func (o *observer) route(n *corev1.Node) {
	if cluster.IsSimulated(n.Labels) {
		return
	}
	address, err := o.assigned(n.Name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.logger.Warn("read the address of a node", "node", n.Name, "error", err)
	}
	pods, err := netip.ParsePrefix(o.spec.Networking.PodCIDR)
	if err != nil {
		o.logger.Warn("parse podCIDR", "error", err)
	}
	o.routes.Set(n.Name, ownedPrefixes(n, address, pods)...)
}

// ownedPrefixes returns the address of a node, if it is valid, and its ranges of the cluster's range of pods.
func ownedPrefixes(n *corev1.Node, address netip.Addr, pods netip.Prefix) []netip.Prefix {
	var prefixes []netip.Prefix
	if address.IsValid() {
		prefixes = append(prefixes, netip.PrefixFrom(address, address.BitLen()))
	}
	for _, cidr := range n.Spec.PodCIDRs {
		if p, err := netip.ParsePrefix(cidr); err == nil && p.Bits() == nodeRangeBits && pods.Contains(p.Addr()) {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes
}

// nodeStatuses merges the Nodes of the API with the names of the nodes whose tunnel is up. It sorts n2 before n10.
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

// taintedNotReady reports whether pods are kept off a node because it was not ready.
func taintedNotReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady })
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
		} else if taintedNotReady(n) { // it saw the node in the moment before
			s.Ready, s.Reason = false, "the node controller has yet to see that it is ready"
		}
	}
	return s
}
