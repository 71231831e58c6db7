package cluster

import (
	"slices"
	"time"
)

// Paths a node sees, whatever the driver.
const (
	NodeMountDir     = "/kl/node" // Layout.NodeDir on the host
	TunnelMountDir   = "/kl/run"  // Layout.TunnelDir on the host
	NodeConfigFile   = "/kl/node/node.json"
	NodeCAFile       = "/kl/node/ca.crt"
	NodeTunnelToken  = "/kl/node/tunnel-token"
	NodeLogDir       = "/kl/node/logs"
	NodeCertsDir     = "/kl/node/certs" // certificate authorities of the machine, which containerd trusts besides those of the payload
	SharedMountDir   = "/kl/shared"     // Layout.SharedDir on the host
	LayersMountDir   = "/kl/layers"     // Layout.LayersDir on the host
	EngineMountDir   = "/kl/engine"     // what of the container engine's directory holds images, see images.OpenEngine
	DisksDir         = "/kl/disks"      // what is mounted below it becomes a local PersistentVolume
	NodeTunnelSocket = "/kl/run/hub.sock"
	NodePartition    = "/kl/node/partitioned" // Layout.NodePartitionFile on the host
	NodeProfileDir   = "/kl/node/profile"     // exists if the node's programs are to leave profiles of themselves
)

// TunnelServerName is the name in the certificate of the tunnel's hub. No node can have it, because the names of nodes have no
// dots.
const TunnelServerName = "tunnel.kl.internal"

// NodeConfig is node.json: what a node is configured with before it starts. The node finds its own address on its default
// route's interface and its pod range on its Node object.
type NodeConfig struct {
	Cluster      string              `json:"cluster"`
	Name         string              `json:"name"`
	Gateway      string              `json:"gateway"` // address of the API on the node's kl0 interface
	APIPort      int                 `json:"apiPort"`
	PodCIDR      string              `json:"podCIDR"` // of the whole cluster
	ServiceCIDR  string              `json:"serviceCIDR"`
	DNS          string              `json:"dns"`
	Domain       string              `json:"domain"`
	CNI          string              `json:"cni"`
	MilliCPUs    int64               `json:"milliCPUs,omitempty"`
	MemoryBytes  int64               `json:"memoryBytes,omitempty"`
	Labels       map[string]string   `json:"labels,omitempty"`
	Taints       []string            `json:"taints,omitempty"`
	FeatureGates map[string]bool     `json:"featureGates,omitempty"`
	KubeletArgs  map[string]string   `json:"kubeletArgs,omitempty"`
	ProxyArgs    map[string]string   `json:"proxyArgs,omitempty"`
	KubeletPatch map[string]any      `json:"kubeletPatch,omitempty"`
	Mirrors      map[string][]string `json:"mirrors,omitempty"`
	Disable      []Feature           `json:"disable,omitempty"`
	RenewBefore  time.Time           `json:"renewBefore,omitzero"` // the kubelet renews certificates that are older when its program starts
}

// Enabled reports whether the node's cluster has a feature.
func (c NodeConfig) Enabled(f Feature) bool { return !slices.Contains(c.Disable, f) }
