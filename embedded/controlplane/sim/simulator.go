// Package sim simulates nodes and their pods: it is kwok's controllers as one component of the control plane.
//
// It costs nothing until the first simulated node appears (label type=kwok). Then it installs kwok's Stage resource with
// the default stages and starts kwok. Stages are ordinary objects from then on: `kl kubectl edit stage pod-ready` changes how
// pods start and end, and stages that a user changed or deleted are left alone.
package sim

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/kwok/pkg/client/clientset/versioned"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	kwokclient "sigs.k8s.io/kwok/pkg/utils/client"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/nodewatch"
	"github.com/klkube/kl/embedded/lifecycle"
)

const (
	// podCIDR is for pods on simulated nodes without a range of their own: the lower part of the shared address space (RFC
	// 6598), which no real pod uses. The nodes have the upper part, see package cluster/sim.
	podCIDR = "100.64.0.1/11"
	// leaseSeconds is how long a node's lease lasts. kwok renews it after a quarter, which must stay below the 50 s after which
	// the controller manager marks a node unknown; more renewals would only be more writes.
	leaseSeconds = 120
	// parallelism of each kind of work. The API server of one machine is the limit, not this.
	parallelism = 16
)

// Simulator is the component. Its fields are set before Run and not changed.
type Simulator struct {
	Config     *rest.Config // administrator, without a rate limit
	Kubeconfig string       // path of the administrator's kubeconfig: kwok's client takes no rest.Config
	Nodes      *nodewatch.Informer
	Logger     *slog.Logger
}

var _ lifecycle.Component = (*Simulator)(nil)

// Name implements lifecycle.Component.
func (s *Simulator) Name() cluster.ComponentName { return "simulator" }

// Run implements lifecycle.Component. It is ready at once, since most clusters have no simulated nodes. kwok reports no
// errors after its start: it logs them and tries again.
func (s *Simulator) Run(ctx context.Context, ready func()) error {
	typed := rest.CopyConfig(s.Config)
	typed.ContentType = "application/vnd.kubernetes.protobuf"
	api, err := kubernetes.NewForConfig(typed)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	ready()
	if err := s.Nodes.Await(ctx, nodewatch.Simulated); err != nil {
		return err
	}
	if err := s.installStages(ctx); err != nil {
		return err
	}
	s.Logger.InfoContext(ctx, "simulating nodes")
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

// controller makes kwok's controller.
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
