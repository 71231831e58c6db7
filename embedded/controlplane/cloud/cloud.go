// Package cloud is the cloud of a cluster: an out-of-tree cloud provider, driven by the controllers of upstream's
// cloud-controller-manager as one component of the control plane.
//
//	c := &cloud.Controller{Layout: layout, Spec: spec, Admin: config, Hub: hub, Requests: requests, Board: board, Logger: log}
//	err := c.Run(ctx, ready)
//
// Instances: a node starts with the taint node.cloudprovider.kubernetes.io/uninitialized and loses it once it has its
// provider ID (kl://CLUSTER/NODE), instance type (the driver), region (the cluster) and zone (the node itself; whatever a
// node's own labels say of the three stays). One that is off on purpose has the taint
// node.cloudprovider.kubernetes.io/shutdown.
//
// Load balancers: each Service of type LoadBalancer has an address out of the last part of the nodes' network, and a node
// holds it: the agent adds it to its interface and answers ARP for it, and kube-proxy does the rest. With
// externalTrafficPolicy Local it is a node on which the Service's healthCheckNodePort passes, else any that is Ready. When
// that is no longer so, or the node's tunnel ends, another one gets it.
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
	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
	"github.com/klkube/kl/embedded/controlplane/identity"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/lifecycle"
)

const (
	// user is who the controllers are to the API server.
	user = "system:cloud-controller-manager"
	// workers is how many nodes, or Services, are worked on at once.
	workers = 5
	// addressInterval is how often nodes' addresses are compared; they never change.
	addressInterval = 5 * time.Minute
	// monitorInterval is how often NotReady nodes are looked up: whether they are off, or gone.
	monitorInterval = 2 * time.Second
)

// Controller is the component. Its fields are set before Run and not changed.
type Controller struct {
	Layout   cluster.Layout
	Spec     cluster.Spec
	Admin    *rest.Config // administrator, without a rate limit
	Hub      Hub
	Requests *cloudmetrics.Requests
	Board    *Board // nil if nobody asks
	Logger   *slog.Logger
}

var _ lifecycle.Component = (*Controller)(nil)

// Name implements the component contract.
func (c *Controller) Name() cluster.ComponentName { return "cloud-controller-manager" }

// Run implements the component contract. It is ready when nodes that join are let in at once.
func (c *Controller) Run(ctx context.Context, ready func()) error {
	client, err := c.client(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim))
	defer factory.Shutdown()
	defer wg.Wait()
	defer cancel()

	p := &provider{instances: &instances{layout: c.Layout, driver: c.Spec.Driver, requests: c.Requests}}
	controllers, err := c.nodeControllers(client, factory, p)
	if err != nil {
		return err
	}
	var b *balancing
	if c.Spec.Enabled(cluster.FeatureLoadBalancer) {
		if b, err = c.balancing(factory, p); err != nil {
			return err
		}
		service, err := servicecontroller.New(p, client, factory.Core().V1().Services(), factory.Core().V1().Nodes(), c.Spec.Name, utilfeature.DefaultFeatureGate)
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
		wg.Go(func() { c.release(ctx, client, factory) })
	} else if err := p.balancers.restore(); err != nil {
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
	return b.run(ctx)
}

// client is one with rights of its own.
func (c *Controller) client(ctx context.Context) (kubernetes.Interface, error) {
	own, err := identity.Config(c.Admin, c.Layout.PKI("ca.crt"), c.Layout.PKI("ca.key"), identity.Request{User: user})
	if err != nil {
		return nil, err
	}
	rights, err := manifests.Cloud(user)
	if err != nil {
		return nil, err
	}
	admin, err := manifests.Client(c.Admin)
	if err != nil {
		return nil, err
	}
	if err := manifests.Apply(ctx, admin, rights, manifests.Force); err != nil {
		return nil, err
	}
	if err := identity.Await(ctx, own, "/api/v1/nodes?limit=1"); err != nil {
		return nil, fmt.Errorf("wait for rights: %w", err)
	}
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return client, nil
}

type runController = func(context.Context, *controllersmetrics.ControllerManagerMetrics)

func (c *Controller) nodeControllers(client kubernetes.Interface, factory informers.SharedInformerFactory, p *provider) ([]runController, error) {
	nodes := factory.Core().V1().Nodes()
	joining, err := nodecontroller.NewCloudNodeController(nodes, client, p, addressInterval, workers, workers)
	if err != nil {
		return nil, fmt.Errorf("make node controller: %w", err)
	}
	leaving, err := nodelifecycle.NewCloudNodeLifecycleController(nodes, client, p, monitorInterval)
	if err != nil {
		return nil, fmt.Errorf("make node lifecycle controller: %w", err)
	}
	return []runController{joining.RunWithContext, leaving.Run}, nil
}

// balancing sets up what looks after the addresses.
func (c *Controller) balancing(factory informers.SharedInformerFactory, p *provider) (*balancing, error) {
	nodes, services, endpoints := factory.Core().V1().Nodes(), factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices()
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default: // one is noted already
		}
	}
	for _, i := range []cache.SharedIndexInformer{nodes.Informer(), services.Informer(), endpoints.Informer()} {
		if _, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { poke() }, UpdateFunc: func(any, any) { poke() }, DeleteFunc: func(any) { poke() },
		}); err != nil {
			return nil, err
		}
	}
	p.balancers = newBalancers(nodes.Lister(), services.Lister(), c.Requests, poke)
	b := &balancing{
		layout: c.Layout, hub: c.Hub, balancers: p.balancers, holders: newHolders(c.Hub, c.Logger),
		nodes: nodes.Lister(), services: services.Lister(), slices: endpoints.Lister(), changed: changed,
	}
	c.Board.show(b)
	return b, nil
}

// trim drops what nobody here reads before an object is cached, and the class from Services of kl's: upstream's
// controller leaves every Service alone that has one.
func trim(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Node:
		o.ManagedFields, o.Status.Images, o.Status.VolumesInUse, o.Status.VolumesAttached = nil, nil, nil, nil
	case *corev1.Service:
		o.ManagedFields = nil
		if o.Spec.LoadBalancerClass != nil && *o.Spec.LoadBalancerClass == Class {
			o.Spec.LoadBalancerClass = nil
		}
	case *discoveryv1.EndpointSlice:
		o.ManagedFields, o.Ports = nil, nil
		for i := range o.Endpoints {
			e := &o.Endpoints[i]
			*e = discoveryv1.Endpoint{NodeName: e.NodeName, Conditions: e.Conditions}
		}
	}
	return obj, nil
}
