package storage

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	provision "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
	"github.com/klkube/kl/embedded/controlplane/identity"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/node/storage"
)

// user is who the controller is to the API server.
const user = "system:kl-storage"

// Nodes are the nodes that can be asked: tunnel.Hub.
type Nodes interface {
	// Watch returns the connected nodes and a channel that is closed when they are others.
	Watch() ([]string, <-chan struct{})
	AgentTransport(node string) http.RoundTripper
}

// Options is what New needs.
type Options struct {
	Layout   cluster.Layout
	Admin    *rest.Config // administrator, without a rate limit: makes the classes and the controller's own rights
	Nodes    Nodes
	Requests *cloudmetrics.Requests           // counts and times volume operations; nil for none
	Collect  func(cs ...prometheus.Collector) // takes the provisioner's metrics; nil for none
	Logger   *slog.Logger
}

// Controller is the component. It is made once a process: see New.
type Controller struct {
	Options
	err error // of New

	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	provision *provision.ProvisionController
	resizer   *resizer
	survey    *survey

	report func(error) // nil if nobody asked
}

var (
	_ lifecycle.Component = (*Controller)(nil)
	_ lifecycle.Reporter  = (*Controller)(nil)
)

// New makes the controller before anything else runs: upstream's provisioner registers types in client-go's scheme when it
// is made, which must not happen while others read it. ctx is that of the process.
func New(ctx context.Context, o Options) *Controller {
	c := &Controller{Options: o}
	own, err := identity.Config(o.Admin, o.Layout.PKI("ca.crt"), o.Layout.PKI("ca.key"), identity.Request{User: user})
	if err == nil {
		c.client, err = kubernetes.NewForConfig(own)
	}
	if err != nil {
		c.err = fmt.Errorf("set up storage: %w", err) // a cluster without volumes is better than none
		return c
	}
	c.build(c.logging(ctx))
	return c
}

// logging has upstream's code log with the controller's logger.
func (c *Controller) logging(ctx context.Context) context.Context {
	return klog.NewContext(ctx, logr.FromSlogHandler(c.Logger.Handler()))
}

// build makes the loops, with c.client.
func (c *Controller) build(ctx context.Context) {
	c.informers = informers.NewSharedInformerFactoryWithOptions(c.client, 0, informers.WithTransform(trim))
	claims, volumes := c.informers.Core().V1().PersistentVolumeClaims(), c.informers.Core().V1().PersistentVolumes()
	classes := c.informers.Storage().V1().StorageClasses()
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.client.CoreV1().Events("")})
	events := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: storage.Driver})

	c.survey = newSurvey(c.Options, c.client, classes.Lister(), volumes)
	agents := agents{nodes: c.Nodes, client: c.client}
	c.provision = newProvisioner(ctx, c.client, &provisioner{
		agents: agents, events: events, requests: c.Requests, changed: c.survey.again, log: c.Logger,
	}, c.Collect, claims.Informer(), volumes.Informer(), classes.Informer())
	c.resizer = newResizer(c.client, agents, claims, volumes.Lister(), events, c.Requests, c.Logger)
}

// trim drops what nobody here reads before an object is cached.
func trim(obj any) (any, error) {
	if o, ok := obj.(interface {
		SetManagedFields([]metav1.ManagedFieldsEntry)
	}); ok {
		o.SetManagedFields(nil)
	}
	return obj, nil
}

// Name implements the component contract.
func (c *Controller) Name() cluster.ComponentName { return "storage" }

// Report implements lifecycle.Reporter.
func (c *Controller) Report(report func(error)) { c.report = report }

// Run implements the component contract. It is ready when claims find their class, and goes on after a failure, since no
// cluster should end for want of volumes.
func (c *Controller) Run(ctx context.Context, ready func()) error {
	if c.err != nil {
		ready()
		c.tell(ctx, c.err)
		<-ctx.Done()
		return ctx.Err()
	}
	if err := c.announce(ctx, ready); err != nil {
		return err
	}
	return c.work(ctx)
}

// work runs the loops until ctx is done.
func (c *Controller) work(ctx context.Context) error {
	ctx = c.logging(ctx)
	c.informers.Start(ctx.Done())
	defer c.informers.Shutdown()
	for kind, synced := range c.informers.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("watch %s: %w", kind, context.Cause(ctx))
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		var workers sync.WaitGroup
		c.provision.ControllerWaitGroup(&workers)
		c.provision.Run(ctx)
		workers.Wait() // Run does not
		return ctx.Err()
	})
	group.Go(func() error { return c.resizer.run(ctx) })
	group.Go(func() error { return c.survey.run(ctx) })
	return group.Wait()
}

func (c *Controller) tell(ctx context.Context, err error) {
	if err != nil {
		c.Logger.WarnContext(ctx, "storage is not all there", "error", err)
	}
	if c.report != nil {
		c.report(err)
	}
}
