package nodewatch

import (
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// View is an Informer as one component sees it: upstream's controllers take it for an informer of their own. It is safe for concurrent use.
type View struct {
	nodes coreinformers.NodeInformer
	only  func(*corev1.Node) bool // nil for all

	mu       sync.Mutex
	handlers []cache.ResourceEventHandlerRegistration
	closed   bool
}

var (
	_ coreinformers.NodeInformer = (*View)(nil)
	_ cache.SharedIndexInformer  = viewed{}
)

// errClosed is the error of adding a handler to a View that is closed.
var errClosed = errors.New("the view of nodes is closed")

// View returns a view whose handlers are called for the Nodes that only accepts, and for all if only is nil. Lister and store have all Nodes.
func (i *Informer) View(only func(*corev1.Node) bool) *View { return &View{nodes: i.nodes, only: only} }

// Informer implements coreinformers.NodeInformer.
func (v *View) Informer() cache.SharedIndexInformer { return viewed{v.nodes.Informer(), v} }

// Lister implements coreinformers.NodeInformer.
func (v *View) Lister() corelisters.NodeLister { return v.nodes.Lister() }

// Close removes the handlers. None of them runs once it has returned, and so it must not be called by one of them.
func (v *View) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	for _, h := range v.handlers {
		_ = cache.ShutDownEventHandler(v.nodes.Informer(), h) // fails for handlers of other informers
	}
	v.handlers = nil
}

func (v *View) add(handler cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, errClosed
	}
	if v.only != nil {
		handler = cache.FilteringResourceEventHandler{FilterFunc: v.accepts, Handler: handler}
	}
	h, err := v.nodes.Informer().AddEventHandlerWithOptions(handler, options)
	if err == nil {
		v.handlers = append(v.handlers, h)
	}
	return h, err
}

// accepts reports whether handlers see an object. One whose deletion was missed is seen as it last was.
func (v *View) accepts(obj any) bool {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	n, ok := obj.(*corev1.Node)
	return ok && v.only(n)
}

// viewed is the shared informer with the handlers of a View.
type viewed struct {
	cache.SharedIndexInformer
	view *View
}

func (i viewed) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return i.view.add(handler, cache.HandlerOptions{})
}

func (i viewed) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.view.add(handler, cache.HandlerOptions{ResyncPeriod: &resync})
}

func (i viewed) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	return i.view.add(handler, options)
}
