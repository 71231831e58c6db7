// Package sim plays simulated nodes and their pods: kwok's controllers as one component of the control plane.
//
//	c := &sim.Simulator{Config: cfg, Kubeconfig: path, Logger: log}
//	err := c.Run(ctx, ready)
//
// It costs one watch until the first node with label type=kwok appears; then it installs kwok's Stage resource with the
// default stages and starts to play. Stages are ordinary objects from then on: `kl kubectl edit stage pod-ready` changes
// how pods live and die, and what a person changed or deleted is left alone.
package sim

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/utils/clock"
	"sigs.k8s.io/kwok/pkg/client/clientset/versioned"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	kwokclient "sigs.k8s.io/kwok/pkg/utils/client"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/klkube/kl/cluster"
)

const (
	// podCIDR gives addresses to simulated pods on nodes without a range of their own: shared address space, RFC 6598,
	// its lower part (cluster/sim gives the upper one to nodes), that no real pod of a cluster uses.
	podCIDR = "100.64.0.1/11"
	// leaseSeconds is how long a node's lease lasts. kwok renews after a quarter of it, which must stay below the 50 s
	// after which the controller manager gives a node up; every shorter period is write load without use.
	leaseSeconds = 120
	// parallelism of each kind of work: the API server of one machine is the limit, not this.
	parallelism = 16
)

// Simulator is the component. Its fields are set before Run and not changed.
type Simulator struct {
	Config     *rest.Config // administrator, without a rate limit
	Kubeconfig string       // path of the same as a file: kwok's client wants one
	Logger     *slog.Logger
}

// Name implements the component contract.
func (s *Simulator) Name() cluster.ComponentName { return "simulator" }

// Run implements the component contract. It is ready at once, since a cluster without simulated nodes is whole. kwok
// reports no errors after its start: it logs and tries again.
func (s *Simulator) Run(ctx context.Context, ready func()) error {
	typed := rest.CopyConfig(s.Config)
	typed.ContentType = "application/vnd.kubernetes.protobuf"
	api, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	ready()
	if err := waitForNode(ctx, api); err != nil {
		return err
	}
	if err := s.installStages(ctx); err != nil {
		return err
	}
	s.Logger.Info("playing simulated nodes")
	c, err := s.controller(api)
	if err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return fmt.Errorf("start kwok: %w", err)
	}
	<-ctx.Done()
	return ctx.Err()
}

// waitForNode returns when a simulated node exists.
func waitForNode(ctx context.Context, api kubernetes.Interface) error {
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = cluster.SimulatedNodes
			return api.CoreV1().Nodes().List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = cluster.SimulatedNodes
			return api.CoreV1().Nodes().Watch(ctx, o)
		},
	}
	_, err := watchtools.UntilWithSync(ctx, lw, &corev1.Node{}, nil, func(e watch.Event) (bool, error) {
		return e.Type == watch.Added || e.Type == watch.Modified, nil
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("wait for a simulated node: %w", err)
	}
	return nil
}

func (s *Simulator) controller(api kubernetes.Interface) (*controllers.Controller, error) {
	set, err := kwokclient.NewClientset("", s.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("make kwok client: %w", err)
	}
	cfg, err := set.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.Kubeconfig, err)
	}
	dynamicClient, err := set.ToDynamicClient()
	if err != nil {
		return nil, err
	}
	mapper, err := set.ToRESTMapper()
	if err != nil {
		return nil, err
	}
	raw, err := rest.RESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("make REST client: %w", err)
	}
	stages, err := versioned.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make stage client: %w", err)
	}
	id, err := controllers.Identity()
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	return controllers.NewController(controllers.Config{
		Clock: clock.RealClock{}, ID: id,
		DynamicClient: dynamicClient, RESTClient: raw, RESTMapper: mapper, TypedClient: api, TypedKwokClient: stages,
		ImpersonatingDynamicClient: set.ToImpersonatingDynamicClient(), ImpersonatingTypedClient: set.ToImpersonatingTypedClient(),
		ManageNodesWithLabelSelector: cluster.SimulatedNodes, CIDR: podCIDR,
		PodPlayStageParallelism: parallelism, NodePlayStageParallelism: parallelism,
		NodeLeaseDurationSeconds: leaseSeconds, NodeLeaseParallelism: parallelism, PodsOnNodeSyncParallelism: parallelism,
		EnablePodsOnNodeSyncListPager: true,
	})
}

// installTimeout bounds the wait for the API server to serve the Stage resource.
const installTimeout = 30 * time.Second
