package storage

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/go-logr/logr"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
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

// user is the controller's user at the API server.
const user = "system:kl-storage"

// Nodes reaches the nodes: tunnel.Hub.
type Nodes interface {
	// Watch returns the connected nodes and a channel that is closed when they change.
	Watch() ([]string, <-chan struct{})
	AgentTransport(node string) http.RoundTripper
}

// Options is what New needs.
type Options struct {
	Layout   cluster.Layout
	Admin    *rest.Config // administrator, without a rate limit: creates the classes and the controller's rights
	Nodes    Nodes
	Requests *cloudmetrics.Requests           // counts and times volume operations; nil for none
	Collect  func(cs ...prometheus.Collector) // takes the provisioner's metrics; nil for none
	Logger   *slog.Logger
}

// Controller is the component. Make one a process, with New.
type Controller struct {
	Options
	err error // of New, reported by Run

	client         kubernetes.Interface
	snapshotClient snapshotclient.Interface

	informers informers.SharedInformerFactory
	provision *provision.ProvisionController
	resizer   *resizer
	assigner  *assigner
	survey    *survey
	snapshots *snapshots

	report func(error) // nil without a supervisor
}

var (
	_ lifecycle.Component = (*Controller)(nil)
	_ lifecycle.Reporter  = (*Controller)(nil)
)

// New makes the controller. Call it before other components run: upstream's provisioner registers types in client-go's
// scheme, which is not safe while others read it. ctx is that of the process.
func New(ctx context.Context, o Options) *Controller {
	c := &Controller{Options: o}
	own, err := identity.Config(o.Admin, o.Layout.PKI("ca.crt"), o.Layout.PKI("ca.key"), identity.Request{User: user})
	if err == nil {
		c.client, err = kubernetes.NewForConfig(own)
	}
	if err == nil {
		c.snapshotClient, err = snapshotclient.NewForConfig(withoutProtobuf(own))
	}
	if err == nil {
		err = c.build(c.logging(ctx))
	}
	if err != nil {
		c.err = fmt.Errorf("set up storage: %w", err) // a cluster without volumes is better than none
	}
	return c
}

// withoutProtobuf returns the configuration for a client of resources that have a CustomResourceDefinition.
func withoutProtobuf(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = "", ""
	return config
}

// logging makes upstream's code use the controller's logger.
func (c *Controller) logging(ctx context.Context) context.Context {
	return klog.NewContext(ctx, logr.FromSlogHandler(c.Logger.Handler()))
}

// build makes the loops over c.client.
func (c *Controller) build(ctx context.Context) (err error) {
	c.informers = informers.NewSharedInformerFactoryWithOptions(c.client, 0, informers.WithTransform(trim))
	claims, volumes := c.informers.Core().V1().PersistentVolumeClaims(), c.informers.Core().V1().PersistentVolumes()
	classes := c.informers.Storage().V1().StorageClasses()
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.client.CoreV1().Events("")})
	events := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: storage.Driver})

	if c.survey, err = newSurvey(c.Options, c.client, classes.Lister(), volumes); err != nil {
		return err
	}
	agents, sources := agents{nodes: c.Nodes, client: c.client}, sources{client: c.client, snapshots: c.snapshotClient}
	c.provision = newProvisioner(ctx, c.client, &provisioner{
		agents: agents, sources: sources, events: events, requests: c.Requests, changed: c.survey.request, log: c.Logger,
	}, c.Collect, claims.Informer(), volumes.Informer(), classes.Informer())
	if c.assigner, err = newAssigner(sources, claims, classes.Lister(), events, c.Logger); err != nil {
		return err
	}
	c.snapshots, err = newSnapshots(c.client, c.snapshotClient, claims, volumes, &nodeSnapshotter{
		agents: agents, volumes: volumes.Lister(), events: events, requests: c.Requests, changed: c.survey.request, log: c.Logger,
	})
	if err != nil {
		return err
	}
	c.snapshots.announce = c.announceSnapshots
	c.resizer, err = newResizer(c.client, agents, claims, volumes.Lister(), events, c.Requests, c.Logger)
	return err
}

// trim is the transform of the cache: it drops field ownership, which no controller reads.
func trim(obj any) (any, error) {
	if o, ok := obj.(metav1.Object); ok && o.GetManagedFields() != nil { // fake API servers share their objects, which have none
		o.SetManagedFields(nil)
	}
	return obj, nil
}

// Name implements lifecycle.Component.
func (c *Controller) Name() cluster.ComponentName { return "storage" }

// Report implements lifecycle.Reporter.
func (c *Controller) Report(report func(error)) { c.report = report }

// Run implements lifecycle.Component. It is ready when the classes exist. An error of New does not make it fail, because a
// cluster works without volumes.
func (c *Controller) Run(ctx context.Context, ready func()) error {
	if c.err != nil {
		ready()
		c.setError(ctx, c.err)
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
	group.Go(func() error { return c.assigner.run(ctx) })
	group.Go(func() error { return c.survey.run(ctx) })
	group.Go(func() error { return c.snapshots.run(ctx) })
	return group.Wait()
}

func (c *Controller) setError(ctx context.Context, err error) {
	if err != nil {
		c.Logger.WarnContext(ctx, "set up storage", "error", err)
	}
	if c.report != nil {
		c.report(err)
	}
}
