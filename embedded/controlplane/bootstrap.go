package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/lifecycle"
)

// bootstrap applies the first objects at every start, then waits to be stopped.
type bootstrap struct {
	world  *world
	logger *slog.Logger
}

var _ lifecycle.Component = (*bootstrap)(nil)

func (b *bootstrap) Name() cluster.ComponentName { return Bootstrap }

// Run lets the nodes in as soon as their rights exist, and is ready when all objects do.
func (b *bootstrap) Run(ctx context.Context, ready func()) error {
	token, err := os.ReadFile(b.world.plane.Layout.BootstrapToken())
	if err != nil {
		return lifecycle.Permanent(fmt.Errorf("read bootstrap token: %w", err))
	}
	id, secret, ok := strings.Cut(strings.TrimSpace(string(token)), ".")
	if !ok {
		return lifecycle.Permanent(fmt.Errorf("read bootstrap token %s: not of the form id.secret", b.world.plane.Layout.BootstrapToken()))
	}
	nodes, err := manifests.Nodes(id, secret)
	if err != nil {
		return lifecycle.Permanent(err)
	}
	dns, err := manifests.DNS(b.world.spec.Networking.DNS, cluster.ClusterDomain)
	if err != nil {
		return lifecycle.Permanent(err)
	}
	client, err := manifests.Client(b.world.admin)
	if err != nil {
		return err
	}
	if err := b.apply(ctx, client, nodes, manifests.Force); err != nil {
		return err
	}
	b.world.joined.open()
	later := slices.IndexFunc(dns, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	if err := b.apply(ctx, client, dns[:later], manifests.Yield); err != nil {
		return err
	}
	ready()
	if err := awaitReadyNode(ctx, b.world.client); err != nil {
		return err
	}
	if err := b.apply(ctx, client, dns[later:], manifests.Yield); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// awaitReadyNode returns when pods have somewhere to go. A pod that is made before that is tried once, and then not
// again for a second or more; and an API without nodes needs no DNS.
func awaitReadyNode(ctx context.Context, client kubernetes.Interface) error {
	lw := cache.NewFilteredListWatchFromClient(client.CoreV1().RESTClient(), "nodes", metav1.NamespaceAll,
		func(o *metav1.ListOptions) { o.LabelSelector = cluster.RealNodes })
	_, err := watchtools.UntilWithSync(ctx, lw, &corev1.Node{}, nil, func(e watch.Event) (bool, error) {
		n, ok := e.Object.(*corev1.Node)
		return ok && e.Type != watch.Deleted && nodeStatus(n).Ready && schedulable(n), nil
	})
	return err
}

// schedulable is false until the node controller has seen that the node is ready, a moment after the kubelet said so.
func schedulable(n *corev1.Node) bool {
	return !slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady })
}

// apply tries for a while: the namespace kube-system appears shortly after the API does.
func (b *bootstrap) apply(ctx context.Context, client dynamic.Interface, objects []*unstructured.Unstructured, mode manifests.Mode) error {
	trying, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	return poll(trying, 50*time.Millisecond, func(ctx context.Context) error {
		err := manifests.Apply(ctx, client, objects, mode)
		if errors.Is(err, manifests.ErrConflict) && onlyConflicts(err) {
			b.logger.InfoContext(ctx, "objects are left as somebody changed them", "conflicts", err)
			return nil
		}
		return err
	})
}

// onlyConflicts is true if every error that was joined is a conflict.
func onlyConflicts(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return errors.Is(err, manifests.ErrConflict)
	}
	for _, e := range joined.Unwrap() {
		if !errors.Is(e, manifests.ErrConflict) {
			return false
		}
	}
	return true
}
