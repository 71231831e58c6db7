package controlplane

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/approver"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/controlplane/nodewatch"
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

// Run admits the nodes as soon as their rights exist. It is ready once everything but the DNS Deployment exists. A cluster that was made
// before has rights and objects, so nothing that is refused now keeps it waiting.
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
	wg.Go(func() { b.retire(ctx) })
	// The scheduler comes back to a pod for which there was no node at all after one second, and then two, whatever happens meanwhile; to
	// one that a node has only to be ready for at once.
	if err := b.nodes.Await(ctx, nodewatch.Real); err != nil {
		return err
	}
	if err := b.apply(ctx, w, dns[later:], manifests.Yield); err != nil {
		return err
	}
	b.status.edit(func(s *cluster.Status) { addMoment(s, cluster.DNSDeployment) })
	<-ctx.Done()
	return ctx.Err()
}

// retire takes away what an older kl let nodes in with: a token for all of them, which never expired, and the right to have any
// node's certificate for it.
func (b *bootstrap) retire(ctx context.Context) {
	const binding, description = "kl:node-autoapprove-bootstrap", "nodes of this cluster join with it"
	if err := b.client.RbacV1().ClusterRoleBindings().Delete(ctx, binding, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		b.logger.WarnContext(ctx, "remove what an older kl made", "ClusterRoleBinding", binding, "error", err)
	}
	secrets := b.client.CoreV1().Secrets(metav1.NamespaceSystem)
	tokens, err := secrets.List(ctx, metav1.ListOptions{FieldSelector: "type=" + string(bootstrapapi.SecretTypeBootstrapToken)})
	if err != nil {
		b.logger.WarnContext(ctx, "look for tokens of an older kl", "error", err)
		return
	}
	for _, s := range tokens.Items {
		if string(s.Data[bootstrapapi.BootstrapTokenDescriptionKey]) != description {
			continue
		}
		if err := secrets.Delete(ctx, s.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			b.logger.WarnContext(ctx, "remove what an older kl made", "Secret", s.Name, "error", err)
		}
	}
}

// objects are what nodes need, and the cluster's DNS.
func (b *bootstrap) objects() (nodes, dns []*unstructured.Unstructured, err error) {
	if nodes, err = manifests.Nodes(approver.JoinGroup); err != nil {
		return nil, nil, err
	}
	dns, err = manifests.DNS(b.spec.Networking.DNS, cluster.ClusterDomain)
	return nodes, dns, err
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
