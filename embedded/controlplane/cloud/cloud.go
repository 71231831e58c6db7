// Package cloud is the cloud of a cluster: an out-of-tree cloud provider, driven by the controllers of upstream's
// cloud-controller-manager as one component of the control plane.
//
// Instances: a node starts with the taint node.cloudprovider.kubernetes.io/uninitialized and loses it once it has its
// provider ID (kl://CLUSTER/NODE), instance type (the driver), region (the cluster) and zone (the node itself). Labels that a
// node already has for the last three stay. A node that was stopped on purpose has the taint
// node.cloudprovider.kubernetes.io/shutdown.
//
// Load balancers: each Service of type LoadBalancer gets an address at the end of the nodes' network, and a node holds it:
// its agent adds it to the interface and answers ARP, and kube-proxy does the rest. With externalTrafficPolicy Local that is a
// node on which the Service's healthCheckNodePort passes, otherwise any that is Ready. Another node gets the address when that
// is no longer the case or the node's tunnel ends. See package balance.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	nodecontroller "k8s.io/cloud-provider/controllers/node"
	"k8s.io/cloud-provider/controllers/nodelifecycle"
	servicecontroller "k8s.io/cloud-provider/controllers/service"
	controllersmetrics "k8s.io/component-base/metrics/prometheus/controllers"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
	"github.com/klkube/kl/embedded/controlplane/await"
	"github.com/klkube/kl/embedded/controlplane/cloud/balance"
	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
	"github.com/klkube/kl/embedded/controlplane/identity"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/controlplane/nodewatch"
	"github.com/klkube/kl/embedded/lifecycle"
)

const (
	// user is the controllers' user at the API server.
	user = "system:cloud-controller-manager"
	// workers is how many nodes, or Services, are handled in parallel.
	workers = 5
	// addressInterval is how often nodes' addresses are compared. In kl they never change.
	addressInterval = 5 * time.Minute
	// monitorInterval is how often NotReady nodes are looked up: they may be stopped or removed.
	monitorInterval = 2 * time.Second
)

// Controller is the component. Its fields are set before Run and not changed.
type Controller struct {
	Layout   cluster.Layout
	Spec     cluster.Spec
	Admin    *rest.Config // administrator, without a rate limit
	Hub      balance.Hub
	Nodes    *nodewatch.Informer
	Requests *cloudmetrics.Requests
	Balances *balance.Handler // serves the load balancers; nil for none
	Logger   *slog.Logger

	report func(error) // nil without a supervisor
}

var (
	_ lifecycle.Component = (*Controller)(nil)
	_ lifecycle.Reporter  = (*Controller)(nil)
)

// Report implements lifecycle.Reporter.
func (c *Controller) Report(report func(error)) { c.report = report }

// Name implements lifecycle.Component.
func (c *Controller) Name() cluster.ComponentName { return "cloud-controller-manager" }

// Run implements lifecycle.Component. It is ready when the controllers run, so that nodes that join are initialized at once.
func (c *Controller) Run(ctx context.Context, ready func()) error {
	client, rights, err := c.client(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim))
	nodes := c.Nodes.View(nil)
	defer nodes.Close()
	defer factory.Shutdown()
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { rights.Run(ctx) })

	p := &provider{instances: &instances{layout: c.Layout, driver: c.Spec.Driver, requests: c.Requests}}
	controllers, err := c.nodeControllers(client, nodes, p)
	if err != nil {
		return err
	}
	var b *balance.Balancer
	if c.Spec.Enabled(cluster.FeatureLoadBalancer) {
		if b, err = c.balancer(factory, nodes, p); err != nil {
			return err
		}
		service, err := servicecontroller.New(p, client, factory.Core().V1().Services(), nodes, c.Spec.Name, utilfeature.DefaultFeatureGate)
		if err != nil {
			return fmt.Errorf("make service controller: %w", err)
		}
		controllers = append(controllers, func(ctx context.Context, m *controllersmetrics.ControllerManagerMetrics) {
			service.Run(ctx, workers, m)
		})
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return errors.Join(ctx.Err(), fmt.Errorf("list %v", kind))
		}
	}
	if b == nil {
		wg.Go(func() { c.release(ctx, client, nodes.Lister(), factory.Core().V1().Services().Lister()) })
	} else if err := p.balancers.addresses.Restore(isOurs); err != nil {
		return err
	}
	m := controllersmetrics.NewControllerManagerMetrics(string(c.Name()))
	for _, run := range controllers {
		wg.Go(func() { run(ctx, m) })
	}
	ready()
	if b == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return b.Run(ctx)
}

// client returns a client that acts as the controllers' own user, and the writer of that user's rights. It waits until the
// user has them: those of an earlier run count, so what refuses to have them written again does no harm.
func (c *Controller) client(ctx context.Context) (kubernetes.Interface, *manifests.Writer, error) {
	own, err := identity.Config(c.Admin, c.Layout.PKI("ca.crt"), c.Layout.PKI("ca.key"), identity.Request{User: user})
	if err != nil {
		return nil, nil, err
	}
	rights, err := manifests.Cloud(user)
	if err != nil {
		return nil, nil, err
	}
	admin, err := manifests.Client(c.Admin)
	if err != nil {
		return nil, nil, err
	}
	w := &manifests.Writer{Client: admin, Report: c.report}
	if err := w.Apply(ctx, rights, manifests.Force); err != nil && !manifests.OnlyConflicts(err) {
		return nil, nil, err
	}
	if err := await.Answer(ctx, own, "/api/v1/services?limit=1"); err != nil {
		return nil, nil, fmt.Errorf("wait for rights: %w", err)
	}
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, nil, fmt.Errorf("make client: %w", err)
	}
	return client, w, nil
}

// runController runs one of upstream's controllers.
type runController = func(context.Context, *controllersmetrics.ControllerManagerMetrics)

func (c *Controller) nodeControllers(client kubernetes.Interface, nodes *nodewatch.View, p *provider) ([]runController, error) {
	node, err := nodecontroller.NewCloudNodeController(nodes, client, p, addressInterval, workers, workers)
	if err != nil {
		return nil, fmt.Errorf("make node controller: %w", err)
	}
	nodeLifecycle, err := nodelifecycle.NewCloudNodeLifecycleController(nodes, client, p, monitorInterval, workers)
	if err != nil {
		return nil, fmt.Errorf("make node lifecycle controller: %w", err)
	}
	return []runController{node.RunWithContext, nodeLifecycle.Run}, nil
}

// balancer makes the balancer and the load balancer part of the provider.
func (c *Controller) balancer(factory informers.SharedInformerFactory, nodes *nodewatch.View, p *provider) (*balance.Balancer, error) {
	services, endpoints := factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	changed := latest.New(struct{}{})
	note := func() { changed.Set(struct{}{}) }
	for _, i := range []cache.SharedIndexInformer{nodes.Informer(), services.Informer(), endpoints.Informer()} {
		if _, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { note() }, UpdateFunc: func(any, any) { note() }, DeleteFunc: func(any) { note() },
		}); err != nil {
			return nil, err
		}
	}
	addresses := balance.NewAddresses(nodes.Lister(), services.Lister(), note)
	p.balancers = &balancers{addresses: addresses, requests: c.Requests}
	b := balance.New(balance.Options{
		Layout: c.Layout, Hub: c.Hub, Addresses: addresses, Changed: changed, Logger: c.Logger,
		Nodes: nodes.Lister(), Services: services.Lister(), Slices: endpoints.Lister(),
	})
	if c.Balances != nil {
		c.Balances.Serve(b)
	}
	return b, nil
}

// trim is the transform of the cache. It drops fields that no controller reads, and kl's class from Services: upstream's
// service controller ignores Services that have a class.
func trim(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Service:
		o.ManagedFields = nil
		dropClass(o)
	case *discoveryv1.EndpointSlice:
		o.ManagedFields, o.Ports = nil, nil
		for i := range o.Endpoints {
			e := &o.Endpoints[i]
			*e = discoveryv1.Endpoint{NodeName: e.NodeName, Conditions: e.Conditions}
		}
	}
	return obj, nil
}

// dropClass removes kl's class from a Service.
func dropClass(svc *corev1.Service) {
	if svc.Spec.LoadBalancerClass != nil && *svc.Spec.LoadBalancerClass == Class {
		svc.Spec.LoadBalancerClass = nil
	}
}
