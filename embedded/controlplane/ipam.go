package controlplane

import (
	"context"
	"fmt"
	"net"

	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/nodeipam"
	"k8s.io/kubernetes/pkg/controller/nodeipam/ipam"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/nodewatch"
	"github.com/klkube/kl/embedded/lifecycle"
)

// nodeRangeBits is the size of a node's range of pod addresses: 254 pods.
const nodeRangeBits = 24

// nodeIPAM gives every real node its range of pod addresses. It is a controller of kube-controller-manager, run separately
// so that it does not see simulated nodes: a thousand of them would use up the 256 ranges.
type nodeIPAM struct {
	spec   cluster.Spec
	client kubernetes.Interface
	nodes  *nodewatch.Informer
	logger klog.Logger
}

var _ lifecycle.Component = (*nodeIPAM)(nil)

func (n *nodeIPAM) Name() cluster.ComponentName { return NodeIPAM }

// Run is ready once it knows the ranges that nodes have.
func (n *nodeIPAM) Run(ctx context.Context, ready func()) error {
	ctx = klog.NewContext(ctx, n.logger)
	_, pods, err := net.ParseCIDR(n.spec.Networking.PodCIDR)
	if err != nil {
		return lifecycle.Permanent(fmt.Errorf("parse podCIDR: %w", err))
	}
	_, services, err := net.ParseCIDR(n.spec.Networking.ServiceCIDR)
	if err != nil {
		return lifecycle.Permanent(fmt.Errorf("parse serviceCIDR: %w", err))
	}
	view := n.nodes.View(nodewatch.Real)
	defer view.Close()
	c, err := nodeipam.NewNodeIpamController(ctx, view, nil, n.client,
		[]*net.IPNet{pods}, services, nil, []int{nodeRangeBits}, ipam.RangeAllocatorType)
	if err != nil {
		return fmt.Errorf("make node IPAM controller: %w", err)
	}
	ready()
	c.Run(ctx)
	return ctx.Err()
}
