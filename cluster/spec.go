package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

// APIVersion and Kind name the format of cluster.yaml and of the file given to `kl up -f`.
const (
	APIVersion = "kl.dev/v1alpha1"
	Kind       = "Cluster"
)

// Spec is what was asked for. Its YAML form is cluster.yaml in the cluster's directory. The zero value of a field means
// "kl decides"; [Spec.Default] fills them in, so a Spec read back from disk has no undecided field.
type Spec struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Name       string      `json:"name"` // DNS label, at most 32 characters
	Driver     DriverName  `json:"driver,omitempty"`
	Nodes      []NodeGroup `json:"nodes,omitzero"` // none is a choice, which cluster.yaml must keep apart from no choice
	Networking Networking  `json:"networking,omitzero"`
	Kubernetes Kubernetes  `json:"kubernetes,omitzero"`
	Encryption Encryption  `json:"encryption,omitzero"`
	Containerd Containerd  `json:"containerd,omitzero"`
	Registries Registries  `json:"registries,omitzero"`
	Audit      Audit       `json:"audit,omitzero"`
	Disable    []Feature   `json:"disable,omitempty"`
	Ephemeral  bool        `json:"ephemeral,omitempty"` // etcd does not sync to disk; state may be lost on power failure
}

// Feature is a built-in part of every cluster that Spec.Disable can leave out.
type Feature string

// The features.
const (
	FeatureNetworkPolicy Feature = "networkPolicy"
	FeatureLoadBalancer  Feature = "loadBalancer"
	FeatureStorage       Feature = "storage"
	FeatureMetrics       Feature = "metrics"
	FeatureRegistry      Feature = "registry"
)

// Features are all features, in the order in which messages list them.
func Features() []Feature {
	return []Feature{FeatureNetworkPolicy, FeatureLoadBalancer, FeatureStorage, FeatureMetrics, FeatureRegistry}
}

// Enabled reports whether the cluster has a feature.
func (s Spec) Enabled(f Feature) bool { return !slices.Contains(s.Disable, f) }

// NodeGroup is a number of equal nodes. Nodes without a name get the first of n1, n2, … that is free; simulated ones are
// sim-1, sim-2, … in any case.
type NodeGroup struct {
	Count     int               `json:"count"`
	Names     []string          `json:"names,omitempty"`  // of the first nodes of the group: DNS labels
	CPUs      string            `json:"cpus,omitempty"`   // a Kubernetes quantity; empty means no limit
	Memory    string            `json:"memory,omitempty"` // a Kubernetes quantity; empty means no limit
	Labels    map[string]string `json:"labels,omitempty"`
	Taints    []string          `json:"taints,omitempty"` // key[=value]:effect, as kubectl taint takes it
	Mounts    []Mount           `json:"mounts,omitempty"`
	Ports     []Port            `json:"ports,omitempty"`
	Simulated bool              `json:"simulated,omitempty"`
}

// Mount is a directory of the host that the node sees.
type Mount struct {
	Host     string `json:"host"` // absolute path on the host
	Node     string `json:"node"` // absolute path in the node
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// Port publishes a port of the node on the host. The control plane forwards TCP, so that such ports come and go on a live
// cluster; the others are published by the driver when it makes the node.
type Port struct {
	Host     int    `json:"host"`               // 1–65535
	Node     int    `json:"node"`               // 1–65535
	Protocol string `json:"protocol,omitempty"` // tcp (default), udp or sctp
	Address  string `json:"address,omitempty"`  // 127.0.0.1 by default
}

// Forwarded reports whether the control plane publishes the port, and not the driver.
func (p Port) Forwarded() bool { return p.Protocol == "" || p.Protocol == "tcp" }

// ListenAddress is the address of the host that leads to the node.
func (p Port) ListenAddress() string { return cmp.Or(p.Address, "127.0.0.1") }

// HostAddress is where the host listens, as net.Listen takes it.
func (p Port) HostAddress() string {
	return net.JoinHostPort(p.ListenAddress(), strconv.Itoa(p.Host))
}

// Networking holds the address ranges of the cluster, in CIDR notation.
type Networking struct {
	PodCIDR     string `json:"podCIDR,omitempty"`     // 10.244.0.0/16; each node owns a /24 of it
	ServiceCIDR string `json:"serviceCIDR,omitempty"` // 10.96.0.0/16
	Gateway     string `json:"gateway,omitempty"`     // 10.245.0.1: where every node finds the API
	DNS         string `json:"dns,omitempty"`         // 10.96.0.10: the tenth address of the service range
	CNI         string `json:"cni,omitempty"`         // kl (default) or none
}

// Kubernetes holds what is passed on to the upstream components.
type Kubernetes struct {
	APIServerPort int                          `json:"apiServerPort,omitempty"` // on 127.0.0.1; chosen at the first up
	FeatureGates  map[string]bool              `json:"featureGates,omitempty"`
	RuntimeConfig map[string]string            `json:"runtimeConfig,omitempty"`
	ExtraArgs     map[string]map[string]string `json:"extraArgs,omitempty"` // component → flag → value
	Scheduler     string                       `json:"schedulerConfig,omitempty"`
	KubeletPatch  map[string]any               `json:"kubeletPatch,omitempty"` // merged into KubeletConfiguration
}

// Containerd configures image pulls of every node.
type Containerd struct {
	Mirrors map[string][]string `json:"mirrors,omitempty"` // registry host → endpoints tried in order
}

// Registries is where images come from: kl's own registry, and how others are reached. Names of registries are as in names of images,
// with a port if there is one: docker.io, registry.example:5000.
type Registries struct {
	Port     int                 `json:"port,omitempty"`     // of kl's registry on 127.0.0.1; 5000 by default
	Mirrors  map[string][]string `json:"mirrors,omitempty"`  // registry, or * → URLs that are asked before it, in order
	CAFiles  map[string]string   `json:"caFiles,omitempty"`  // registry → file of authorities that it is trusted by, besides the machine's
	Insecure []string            `json:"insecure,omitempty"` // registries that may have any certificate, or none
}

// ListenPort is the port that kl's registry should have.
func (r Registries) ListenPort() int { return cmp.Or(r.Port, DefaultRegistryPort) }

// DefaultRegistryPort is where tools expect a registry on this machine.
const DefaultRegistryPort = 5000

// Upstream is how other registries are reached. Mirrors may also stand below containerd, for nodes that pull by themselves.
func (s Spec) Upstream() Registries {
	r := s.Registries
	r.Mirrors = maps.Clone(s.Containerd.Mirrors)
	if r.Mirrors == nil {
		return s.Registries
	}
	maps.Copy(r.Mirrors, s.Registries.Mirrors)
	return r
}

// Defaults that are part of the design: see Networking.
const (
	DefaultName        = "kl"
	DefaultPodCIDR     = "10.244.0.0/16"
	DefaultServiceCIDR = "10.96.0.0/16"
	DefaultGateway     = "10.245.0.1"
	DefaultDNS         = "10.96.0.10"
	ClusterDomain      = "cluster.local"
	StorageDriver      = "csi.kl.dev" // of volumes and snapshots
)

// DefaultSpec is the cluster that `kl up` makes without flags: one node, any driver.
func DefaultSpec() Spec {
	return Spec{
		APIVersion: APIVersion, Kind: Kind, Name: DefaultName, Driver: DriverAuto,
		Nodes: []NodeGroup{{Count: 1}},
		Networking: Networking{
			PodCIDR: DefaultPodCIDR, ServiceCIDR: DefaultServiceCIDR,
			Gateway: DefaultGateway, DNS: DefaultDNS, CNI: "kl",
		},
	}
}

// NodeCount is the number of real (not simulated) nodes asked for.
func (s Spec) NodeCount() int {
	n := 0
	for _, g := range s.Nodes {
		if !g.Simulated {
			n += g.Count
		}
	}
	return n
}

// SimulatedCount is the number of simulated nodes asked for.
func (s Spec) SimulatedCount() int {
	n := 0
	for _, g := range s.Nodes {
		if g.Simulated {
			n += g.Count
		}
	}
	return n
}

// NameNodes gives every real node a name, so that a node keeps its own when others come and go. Existing names stay.
func (s *Spec) NameNodes() {
	taken := map[string]bool{}
	for _, g := range s.Nodes {
		for _, name := range g.Names {
			taken[name] = true
		}
	}
	next := 1
	for i := range s.Nodes {
		g := &s.Nodes[i]
		if g.Simulated {
			continue
		}
		g.Names = slices.Clone(g.Names[:min(len(g.Names), max(g.Count, 0))])
		for len(g.Names) < g.Count {
			for taken[fmt.Sprintf("n%d", next)] {
				next++
			}
			name := fmt.Sprintf("n%d", next)
			taken[name] = true
			g.Names = append(g.Names, name)
		}
	}
}

// Names gives the nodes of want the names that the cluster's nodes have, group by group, and names the rest. gone are
// the nodes that are not in want.
func (s Spec) Names(want Spec) (named Spec, gone []string) {
	want.Nodes = slices.Clone(want.Nodes)
	s.Nodes = slices.Clone(s.Nodes)
	s.NameNodes()
	for i := range min(len(want.Nodes), len(s.Nodes)) {
		g := &want.Nodes[i]
		if g.Simulated || s.Nodes[i].Simulated {
			continue
		}
		for _, name := range s.Nodes[i].Names {
			if len(g.Names) < g.Count && !slices.Contains(g.Names, name) {
				g.Names = append(slices.Clone(g.Names), name)
			}
		}
	}
	want.NameNodes()
	keep := want.NodeNames()
	for _, name := range s.NodeNames() {
		if !slices.Contains(keep, name) {
			gone = append(gone, name)
		}
	}
	return want, gone
}

// Forwarded are the ports that the control plane publishes.
func (s Spec) Forwarded() []Port {
	var ports []Port
	for _, g := range s.Nodes {
		ports = append(ports, slices.DeleteFunc(slices.Clone(g.Ports), func(p Port) bool { return !p.Forwarded() })...)
	}
	return ports
}

// Files are the fields that hold the path of a file or, in several lines, its content; by their path in kl.yaml.
func (s *Spec) Files() map[string]*string {
	return map[string]*string{
		"audit.policy": &s.Audit.Policy, "audit.webhook.ca": &s.Audit.Webhook.CA, "audit.webhook.kubeconfig": &s.Audit.Webhook.Kubeconfig,
		"kubernetes.schedulerConfig": &s.Kubernetes.Scheduler,
	}
}

// HoldsContent reports whether a field of Files holds a file's content, and not a path.
func HoldsContent(field string) bool { return strings.Contains(field, "\n") }
