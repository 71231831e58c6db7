// Package sim is the driver of simulated nodes: Node objects without machines. kwok's controllers, which run in the control
// plane, keep the nodes Ready and change the status of their pods as a kubelet would. A thousand of them need less than one
// container.
//
// The backend is the API of the cluster, so its control plane must run. The nodes have the label, the annotation and the
// NoSchedule taint that kwok documents; only pods that tolerate the taint are scheduled to them.
package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/klkube/kl/cluster"
)

const (
	specAnnotation = "dev.kl.spec" // what Create was given, see specNote
	podsPerNode    = "110"
	defaultCPU     = 32_000    // thousandths of a CPU
	defaultMemory  = 256 << 30 // bytes
)

// Options configures a Driver. Both functions are required.
type Options struct {
	// Connect returns a client for the API of a cluster, without a rate limit.
	Connect func(ctx context.Context, cluster string) (kubernetes.Interface, error)
	// Clusters returns the names of all clusters whose control plane runs.
	Clusters func(ctx context.Context) ([]string, error)
}

// Driver makes simulated nodes.
type Driver struct{ opts Options }

var _ cluster.Driver = (*Driver)(nil)

// New returns a driver. It connects when it is used.
func New(opts Options) *Driver { return &Driver{opts} }

// Name implements cluster.Driver.
func (d *Driver) Name() cluster.DriverName { return cluster.DriverSimulated }

// Create implements cluster.Driver. The node becomes Ready once kwok has noticed it.
func (d *Driver) Create(ctx context.Context, spec cluster.NodeSpec) (cluster.Node, error) {
	if len(spec.Mounts) > 0 {
		return cluster.Node{}, &cluster.Error{Op: "create simulated node", Node: spec.Name,
			Err: errors.New("a simulated node has no file system to mount to"), Hint: "remove its mounts, or make it a real node"}
	}
	api, err := d.opts.Connect(ctx, spec.Cluster)
	if err != nil {
		return cluster.Node{}, err
	}
	made, err := api.CoreV1().Nodes().Create(ctx, object(spec), metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return cluster.Node{}, &cluster.Error{Op: "create simulated node", Node: spec.Name, Err: cluster.ErrNodeExists}
	}
	if err != nil {
		return cluster.Node{}, fmt.Errorf("create simulated node %s: %w", spec.Name, err)
	}
	return d.node(spec.Cluster, made), nil
}

// List implements cluster.Driver.
func (d *Driver) List(ctx context.Context, name string) ([]cluster.Node, error) {
	names := []string{name}
	if name == "" {
		var err error
		if names, err = d.opts.Clusters(ctx); err != nil {
			return nil, err
		}
	}
	var out []cluster.Node
	for _, c := range names {
		api, err := d.opts.Connect(ctx, c)
		if err != nil {
			return nil, err
		}
		list, err := api.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: cluster.SimulatedNodes})
		if err != nil {
			return nil, fmt.Errorf("list simulated nodes of %s: %w", c, err)
		}
		for i := range list.Items {
			out = append(out, d.node(c, &list.Items[i]))
		}
	}
	cluster.SortNodes(out)
	return out, nil
}

// Delete implements cluster.Driver.
func (d *Driver) Delete(ctx context.Context, n cluster.Node) error {
	api, err := d.opts.Connect(ctx, n.Cluster)
	if err != nil {
		return err
	}
	err = api.CoreV1().Nodes().Delete(ctx, n.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete simulated node %s: %w", n.Name, err)
	}
	return nil
}

// Close implements cluster.Driver. It does nothing.
func (d *Driver) Close() error { return nil }

// specNote is the part of a NodeSpec that List returns and that a Node object has no fields for.
type specNote struct {
	PayloadSHA  string            `json:"payloadSHA,omitempty"`
	MilliCPUs   int64             `json:"milliCPUs,omitempty"`
	MemoryBytes int64             `json:"memoryBytes,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Ports       []cluster.Port    `json:"ports,omitempty"`
}

func object(spec cluster.NodeSpec) *corev1.Node {
	labels := map[string]string{corev1.LabelHostname: spec.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"}
	maps.Copy(labels, spec.Labels)
	labels[cluster.SimulatedLabel] = cluster.SimulatedValue                                                        // last: List finds the node by it
	note, _ := json.Marshal(specNote{spec.Payload.SHA, spec.MilliCPUs, spec.MemoryBytes, spec.Labels, spec.Ports}) // always marshals
	annotations := map[string]string{cluster.SimulatedAnnotation: cluster.SimulatedMark, specAnnotation: string(note)}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(orDefault(spec.MilliCPUs, defaultCPU), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(orDefault(spec.MemoryBytes, defaultMemory), resource.BinarySI),
		corev1.ResourcePods:   resource.MustParse(podsPerNode),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: spec.Name, Labels: labels, Annotations: annotations},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: cluster.SimulatedTaint, Value: cluster.SimulatedMark, Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{Capacity: capacity, Allocatable: capacity,
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address(spec.Cluster, spec.Name)}}},
	}
}

func (d *Driver) node(name string, n *corev1.Node) cluster.Node {
	var note specNote
	_ = json.Unmarshal([]byte(n.Annotations[specAnnotation]), &note) // a damaged annotation must not hide the node
	out := cluster.Node{
		Cluster: name, Name: n.Name, Driver: d.Name(), ID: string(n.UID), State: cluster.NodeRunning,
		Created: n.CreationTimestamp.Time, PayloadSHA: note.PayloadSHA,
		MilliCPUs: note.MilliCPUs, MemoryBytes: note.MemoryBytes, Labels: note.Labels, Ports: note.Ports,
	}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			out.IP = a.Address
		}
	}
	return out
}

// address returns the address of a node, which is a hash of its names: nothing answers there, and it does no harm if two nodes
// have the same one. It is in the upper part of the shared address space (RFC 6598); kwok gives the lower part to pods.
func address(cluster, name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(cluster + "/" + name)) // never fails
	n := h.Sum32()
	return netip.AddrFrom4([4]byte{100, 112 | byte(n>>16)&0x0f, byte(n >> 8), byte(n)}).String()
}

func orDefault(v, def int64) int64 {
	if v > 0 {
		return v
	}
	return def
}
