// Package nodewatch is the one watch of Nodes that kl's own components of the control plane share. A watch of one's own costs a stream, the
// decoding of every change, and a copy of every Node, which a thousand simulated nodes make felt.
//
// The Informer is a component: those that use it need it, so that it has every Node before they start and runs until they have stopped. Each
// of them opens a View, which forgets its handlers when it is closed: components are made again after a failure, and handlers would pile up.
//
// It reads as whoever its client is, which in a control plane is the administrator. That gives nobody a right to write: a component that has a
// user of its own, as the cloud provider does, uses that for everything else.
package nodewatch

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/lifecycle"
)

// Name is the component's name.
const Name cluster.ComponentName = "node-watch"

// Informer is the component. Make one a control plane, with New. It does not fail: what the API server refuses is tried again.
type Informer struct {
	nodes coreinformers.NodeInformer
}

var _ lifecycle.Component = (*Informer)(nil)

// New makes an informer that reads with client, which needs the rights to list and watch Nodes.
func New(client kubernetes.Interface) *Informer {
	return &Informer{informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim)).Core().V1().Nodes()}
}

// Name implements lifecycle.Component.
func (i *Informer) Name() cluster.ComponentName { return Name }

// Run implements lifecycle.Component. It is ready when it has every Node.
func (i *Informer) Run(ctx context.Context, ready func()) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { i.nodes.Informer().RunWithContext(ctx) })
	if cache.WaitFor(ctx, "", i.nodes.Informer().HasSyncedChecker()) {
		ready()
	}
	<-ctx.Done()
	return ctx.Err()
}

// Await returns nil when there is a Node that accept accepts, or ctx's error.
func (i *Informer) Await(ctx context.Context, accept func(*corev1.Node) bool) error {
	found := make(chan struct{})
	note := sync.OnceFunc(func() { close(found) })
	view := i.View(accept)
	defer view.Close()
	_, err := view.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { note() }})
	if err != nil {
		return fmt.Errorf("wait for a node: %w", err)
	}
	select {
	case <-found:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Real reports whether a Node is not simulated, as the selector cluster.RealNodes does.
func Real(n *corev1.Node) bool { return !cluster.IsSimulated(n.Labels) }

// Simulated reports whether a Node is simulated, as the selector cluster.SimulatedNodes does.
func Simulated(n *corev1.Node) bool { return cluster.IsSimulated(n.Labels) }

// trim drops what no component reads: field ownership and images are half of a Node. Annotations stay, because the cloud's node controller
// writes a Node as it has read it.
func trim(obj any) (any, error) {
	if n, ok := obj.(*corev1.Node); ok {
		n.ManagedFields, n.Status.Images, n.Status.VolumesInUse, n.Status.VolumesAttached = nil, nil, nil, nil
	}
	return obj, nil
}
