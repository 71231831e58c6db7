package cloud

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
)

// instances answers for the nodes of a cluster as a cloud does for its machines. It looks at the cluster's files: a node that
// was removed has no directory, and one that was stopped has a file there. Simulated nodes, and Node objects that a user
// created, always exist.
type instances struct {
	layout   cluster.Layout
	driver   cluster.DriverName
	requests *cloudmetrics.Requests
}

var _ cloudprovider.InstancesV2 = (*instances)(nil)

// providerID is kl://CLUSTER/NODE.
func (i *instances) providerID(node string) string {
	return providerName + "://" + i.layout.Name + "/" + node
}

// InstanceExists implements InstancesV2.
func (i *instances) InstanceExists(_ context.Context, n *corev1.Node) (found bool, err error) {
	defer i.requests.Time("instance_exists")(&err)
	if n.Spec.ProviderID != i.providerID(n.Name) || cluster.IsSimulated(n.Labels) {
		return true, nil
	}
	return exists(i.layout.NodeDir(n.Name))
}

// InstanceShutdown implements InstancesV2.
func (i *instances) InstanceShutdown(_ context.Context, n *corev1.Node) (off bool, err error) {
	defer i.requests.Time("instance_shutdown")(&err)
	if n.Spec.ProviderID != i.providerID(n.Name) || cluster.IsSimulated(n.Labels) {
		return false, nil
	}
	return exists(i.layout.NodeStoppedFile(n.Name))
}

// InstanceMetadata implements InstancesV2. Zone, region and instance type are those of the node's labels, so that a user may
// choose them; otherwise every node is a zone of its own, and the region is the cluster.
func (i *instances) InstanceMetadata(_ context.Context, n *corev1.Node) (m *cloudprovider.InstanceMetadata, err error) {
	defer i.requests.Time("instance_metadata")(&err)
	m = &cloudprovider.InstanceMetadata{
		ProviderID:   i.providerID(n.Name),
		InstanceType: label(n, corev1.LabelInstanceTypeStable, string(i.driver)),
		Zone:         label(n, corev1.LabelTopologyZone, zone(n.Name)),
		Region:       label(n, corev1.LabelTopologyRegion, i.layout.Name),
	}
	if n.Spec.ProviderID != "" {
		m.ProviderID = n.Spec.ProviderID
	}
	m.NodeAddresses, err = i.nodeAddresses(n)
	return m, err
}

// nodeAddresses returns the address that the driver assigned, which never changes, or, for a Node that no driver made, what
// that says itself.
func (i *instances) nodeAddresses(n *corev1.Node) ([]corev1.NodeAddress, error) {
	id, err := cluster.ReadNodeIdentity(i.layout, n.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return slices.Clone(n.Status.Addresses), nil
	}
	if err != nil {
		return nil, err
	}
	if !id.Address.IsValid() { // the driver is still at work; the controller tries again
		return nil, fmt.Errorf("the address of node %s is not known yet", n.Name)
	}
	return []corev1.NodeAddress{
		{Type: corev1.NodeInternalIP, Address: id.Address.String()}, {Type: corev1.NodeHostName, Address: n.Name},
	}, nil
}

// zone returns the name of a node's own zone: the node's, cut to the length of a label value.
func zone(node string) string {
	const maxLabel = 63
	if len(node) > maxLabel {
		node = strings.TrimRight(node[:maxLabel], "-.")
	}
	return node
}

func label(n *corev1.Node, key, otherwise string) string {
	if v := n.Labels[key]; v != "" {
		return v
	}
	return otherwise
}

// exists reports whether there is a file or directory at path.
func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
