package cloud

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/controlplane/cloudmetrics"
)

// instances are the nodes of a cluster as a cloud sees its machines. What there is, the cluster's files say: a node that
// was removed has no directory, one that was stopped has a mark there. Nodes that others made exist for as long as
// they like: simulated ones, and Node objects of whoever tests with some.
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
func (i *instances) InstanceExists(_ context.Context, n *corev1.Node) (exists bool, err error) {
	defer i.requests.Time("instance_exists")(&err)
	if n.Spec.ProviderID != i.providerID(n.Name) || cluster.IsSimulated(n.Labels) {
		return true, nil
	}
	return isThere(i.layout.NodeDir(n.Name))
}

// InstanceShutdown implements InstancesV2.
func (i *instances) InstanceShutdown(_ context.Context, n *corev1.Node) (off bool, err error) {
	defer i.requests.Time("instance_shutdown")(&err)
	if n.Spec.ProviderID != i.providerID(n.Name) || cluster.IsSimulated(n.Labels) {
		return false, nil
	}
	return isThere(i.layout.NodeStoppedFile(n.Name))
}

// InstanceMetadata implements InstancesV2. Of zone and region, what the node's labels say counts, so that a user may
// choose them; else the region is the cluster and every node is a zone of its own.
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
	// The kubelet knows its address, which never changes.
	m.NodeAddresses = append(m.NodeAddresses, n.Status.Addresses...)
	return m, nil
}

// zone is a node's own: its name, as far as a label holds it.
func zone(node string) string {
	const most = 63
	if len(node) > most {
		node = strings.TrimRight(node[:most], "-.")
	}
	return node
}

func label(n *corev1.Node, key, otherwise string) string {
	if v := n.Labels[key]; v != "" {
		return v
	}
	return otherwise
}

func isThere(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
