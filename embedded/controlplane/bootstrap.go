package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/approver"
	"github.com/klkube/kl/embedded/controlplane/await"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/lifecycle"
)

// bootstrap applies the first objects at every start, then retries those that were refused until it is stopped.
type bootstrap struct {
	*shared
	logger *slog.Logger
	report func(error) // nil without a supervisor
}

var (
	_ lifecycle.Component = (*bootstrap)(nil)
	_ lifecycle.Reporter  = (*bootstrap)(nil)
)

func (b *bootstrap) Name() cluster.ComponentName { return Bootstrap }

func (b *bootstrap) Report(report func(error)) { b.report = report }

// Run admits the nodes as soon as their rights exist. It is ready once everything but the DNS Deployment exists: its pods
// wait for a node. A cluster that was made before has rights and objects, so nothing that is refused now keeps it waiting.
func (b *bootstrap) Run(ctx context.Context, ready func()) error {
	nodes, dns, err := b.objects()
	if err != nil {
		return lifecycle.Permanent(err)
	}
	client, err := manifests.Client(b.admin)
	if err != nil {
		return err
	}
	w := &manifests.Writer{Client: client, Report: b.report}
	if err := b.apply(ctx, w, nodes, manifests.Force); err != nil {
		return err
	}
	b.nodesAllowed.Set(true)
	later := slices.IndexFunc(dns, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	if err := b.apply(ctx, w, dns[:later], manifests.Yield); err != nil {
		return err
	}
	ready()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { w.Run(ctx) })
	// A pod that is created before a node can take it is tried once, and then not again for a second or more.
	if err := await.Node(ctx, b.client, cluster.RealNodes, schedulable); err != nil {
		return err
	}
	if err := b.apply(ctx, w, dns[later:], manifests.Yield); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// objects are what nodes need, and the cluster's DNS.
func (b *bootstrap) objects() (nodes, dns []*unstructured.Unstructured, err error) {
	if nodes, err = manifests.Nodes(approver.JoinGroup); err != nil {
		return nil, nil, err
	}
	dns, err = manifests.DNS(b.spec.Networking.DNS, cluster.ClusterDomain)
	return nodes, dns, err
}

// schedulable reports whether pods can be assigned to a node. The node controller removes the taint a moment after the
// kubelet says that it is ready.
func schedulable(n *corev1.Node) bool {
	tainted := slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady })
	return await.Ready(n) && !tainted
}

// apply applies objects and leaves those alone that a user has changed.
func (b *bootstrap) apply(ctx context.Context, w *manifests.Writer, objects []*unstructured.Unstructured, mode manifests.Mode) error {
	err := w.Apply(ctx, objects, mode)
	if manifests.OnlyConflicts(err) {
		b.logger.InfoContext(ctx, "objects changed by a user are left as they are", "conflicts", err)
		return nil
	}
	return err
}
