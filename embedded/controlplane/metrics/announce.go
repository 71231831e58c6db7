package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/identity"
	"github.com/klkube/kl/embedded/controlplane/manifests"
)

const (
	announceTimeout = 15 * time.Second
	withdrawTimeout = 2 * time.Second
	pollInterval    = 50 * time.Millisecond
)

// announcer makes and removes the objects by which the API server finds the server.
type announcer struct {
	client dynamic.Interface
}

func newAnnouncer(admin *rest.Config) (*announcer, error) {
	client, err := manifests.Client(admin)
	if err != nil {
		return nil, err
	}
	return &announcer{client: client}, nil
}

// announced is true if a process that was killed has left its APIService.
func (a *announcer) announced(ctx context.Context) bool {
	resource := schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
	_, err := a.client.Resource(resource).Get(ctx, "v1beta1.metrics.k8s.io", metav1.GetOptions{})
	return err == nil
}

// grant makes the server's rights.
func (a *announcer) grant(ctx context.Context, m manifests.MetricsServer) error {
	return a.apply(ctx, m, func(all []*unstructured.Unstructured) []*unstructured.Unstructured { return all[:m.Rights()] })
}

// announce makes the rest.
func (a *announcer) announce(ctx context.Context, m manifests.MetricsServer) error {
	return a.apply(ctx, m, func(all []*unstructured.Unstructured) []*unstructured.Unstructured { return all[m.Rights():] })
}

func (a *announcer) apply(ctx context.Context, m manifests.MetricsServer, which func(all []*unstructured.Unstructured) []*unstructured.Unstructured) error {
	all, err := m.Objects()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	return poll(ctx, func(ctx context.Context) error {
		return manifests.Apply(ctx, a.client, which(all), manifests.Force)
	})
}

// withdraw removes what announce made, the APIService first.
func (a *announcer) withdraw(ctx context.Context, m manifests.MetricsServer, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, withdrawTimeout)
	defer cancel()
	all, err := m.Objects()
	if err != nil {
		return // announce has said so
	}
	for i := len(all) - 1; i >= m.Rights(); i-- {
		resource, _ := meta.UnsafeGuessKindToResource(all[i].GroupVersionKind())
		err := a.client.Resource(resource).Namespace(all[i].GetNamespace()).Delete(ctx, all[i].GetName(), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			log.WarnContext(ctx, "object is left behind", "kind", all[i].GetKind(), "name", all[i].GetName(), "error", err)
		}
	}
}

// awaitReadyNode returns when a node with a kubelet is ready.
func awaitReadyNode(ctx context.Context, client kubernetes.Interface) error {
	lw := cache.NewFilteredListWatchFromClient(client.CoreV1().RESTClient(), "nodes", metav1.NamespaceAll,
		func(o *metav1.ListOptions) { o.LabelSelector = cluster.RealNodes })
	_, err := watchtools.UntilWithSync(ctx, lw, &corev1.Node{}, nil, func(e watch.Event) (bool, error) {
		n, ok := e.Object.(*corev1.Node)
		return ok && e.Type != watch.Deleted && isReady(n), nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("wait for a node: %w", err)
	}
	return nil
}

func isReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// awaitRights returns when the API server knows the rights of grant: an informer that is refused backs off for a second.
func awaitRights(ctx context.Context, own *rest.Config) error {
	return identity.Await(ctx, own, "/api/v1/nodes?limit=1")
}

// awaitServing returns when the server answers.
func awaitServing(ctx context.Context, own *rest.Config) error {
	return identity.Await(ctx, own, "/apis/metrics.k8s.io/v1beta1")
}

// poll calls try until it returns nil. When ctx is done it returns the last error too.
func poll(ctx context.Context, try func(context.Context) error) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		last = try(ctx)
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}
