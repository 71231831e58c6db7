package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/await"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/lifecycle"
)

// bootstrap applies the first objects at every start, then waits to be stopped.
type bootstrap struct {
	*shared
	logger *slog.Logger
}

var _ lifecycle.Component = (*bootstrap)(nil)

func (b *bootstrap) Name() cluster.ComponentName { return Bootstrap }

// Run admits the nodes as soon as their rights exist. It is ready once everything but the DNS Deployment exists: its pods
// wait for a node.
func (b *bootstrap) Run(ctx context.Context, ready func()) error {
	token, err := os.ReadFile(b.layout.BootstrapToken())
	if err != nil {
		return lifecycle.Permanent(fmt.Errorf("read bootstrap token: %w", err))
	}
	id, secret, ok := strings.Cut(strings.TrimSpace(string(token)), ".")
	if !ok {
		return lifecycle.Permanent(fmt.Errorf("read bootstrap token %s: not of the form id.secret", b.layout.BootstrapToken()))
	}
	nodes, err := manifests.Nodes(id, secret)
	if err != nil {
		return lifecycle.Permanent(err)
	}
	dns, err := manifests.DNS(b.spec.Networking.DNS, cluster.ClusterDomain)
	if err != nil {
		return lifecycle.Permanent(err)
	}
	client, err := manifests.Client(b.admin)
	if err != nil {
		return err
	}
	if err := b.apply(ctx, client, nodes, manifests.Force); err != nil {
		return err
	}
	b.nodesAllowed.Set(true)
	later := slices.IndexFunc(dns, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	if err := b.apply(ctx, client, dns[:later], manifests.Yield); err != nil {
		return err
	}
	ready()
	// A pod that is created before a node can take it is tried once, and then not again for a second or more.
	if err := await.Node(ctx, b.client, cluster.RealNodes, schedulable); err != nil {
		return err
	}
	if err := b.apply(ctx, client, dns[later:], manifests.Yield); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// schedulable reports whether pods can be assigned to a node. The node controller removes the taint a moment after the
// kubelet says that it is ready.
func schedulable(n *corev1.Node) bool {
	tainted := slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady })
	return await.Ready(n) && !tainted
}

// apply applies objects. In mode Yield it leaves those alone that a user has changed.
func (b *bootstrap) apply(ctx context.Context, client dynamic.Interface, objects []*unstructured.Unstructured, mode manifests.Mode) error {
	err := manifests.ApplyWithin(ctx, applyTimeout, client, objects, mode)
	if manifests.OnlyConflicts(err) {
		b.logger.InfoContext(ctx, "objects changed by a user are left as they are", "conflicts", err)
		return nil
	}
	return err
}

// applyTimeout is how long bootstrap tries: the namespace kube-system appears shortly after the API does.
const applyTimeout = 15 * time.Second
