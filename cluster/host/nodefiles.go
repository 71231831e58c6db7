package host

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	"k8s.io/apimachinery/pkg/api/resource"
)

// nodeSpecs returns what the driver is to make, in order.
func nodeSpecs(s cluster.Spec, l cluster.Layout, p cluster.Payload) ([]cluster.NodeSpec, error) {
	avoid, err := ranges(s)
	if err != nil {
		return nil, err
	}
	var nodes []cluster.NodeSpec
	s.Nodes = slices.Clone(s.Nodes)
	s.NameNodes()
	for _, g := range s.Nodes {
		if g.Simulated {
			continue
		}
		cpus, err := quantity(g.CPUs)
		if err != nil {
			return nil, fmt.Errorf("parse cpus %q: %w", g.CPUs, err)
		}
		memory, err := quantity(g.Memory)
		if err != nil {
			return nil, fmt.Errorf("parse memory %q: %w", g.Memory, err)
		}
		for _, name := range g.Names {
			nodes = append(nodes, cluster.NodeSpec{
				Cluster: s.Name, Name: name, Payload: p, TunnelDir: l.TunnelDir(), NodeDir: l.NodeDir(name), SharedDir: l.SharedDir(),
				MilliCPUs: cpus.MilliValue(), MemoryBytes: memory.Value(),
				Mounts: g.Mounts, Ports: slices.DeleteFunc(slices.Clone(g.Ports), cluster.Port.Forwarded), Labels: g.Labels, Avoid: avoid,
			})
		}
	}
	return nodes, nil
}

// ranges are the addresses that the cluster uses inside.
func ranges(s cluster.Spec) ([]netip.Prefix, error) {
	var ranges []netip.Prefix
	for _, text := range []string{s.Networking.PodCIDR, s.Networking.ServiceCIDR} {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("parse range: %w", err)
		}
		ranges = append(ranges, p.Masked())
	}
	gateway, err := netip.ParseAddr(s.Networking.Gateway)
	if err != nil {
		return nil, fmt.Errorf("parse gateway: %w", err)
	}
	return append(ranges, netip.PrefixFrom(gateway, gateway.BitLen())), nil
}

func quantity(text string) (resource.Quantity, error) {
	if text == "" {
		return resource.Quantity{}, nil
	}
	return resource.ParseQuantity(text)
}

// nodeConfig returns the content of node.json.
func nodeConfig(s cluster.Spec, n cluster.NodeSpec) cluster.NodeConfig {
	var taints []string
	s.Nodes = slices.Clone(s.Nodes)
	s.NameNodes()
	for _, g := range s.Nodes {
		if slices.Contains(g.Names, n.Name) {
			taints = g.Taints
		}
	}
	return cluster.NodeConfig{
		Cluster: s.Name, Name: n.Name,
		Gateway: s.Networking.Gateway, APIPort: s.Kubernetes.APIServerPort,
		PodCIDR: s.Networking.PodCIDR, ServiceCIDR: s.Networking.ServiceCIDR,
		DNS: s.Networking.DNS, Domain: cluster.ClusterDomain, CNI: s.Networking.CNI,
		MilliCPUs: n.MilliCPUs, MemoryBytes: n.MemoryBytes, Labels: n.Labels, Taints: taints,
		FeatureGates: s.Kubernetes.FeatureGates,
		KubeletArgs:  s.Kubernetes.ExtraArgs["kubelet"], ProxyArgs: s.Kubernetes.ExtraArgs["kube-proxy"],
		KubeletPatch: s.Kubernetes.KubeletPatch, Mirrors: s.Containerd.Mirrors, Disable: s.Disable,
	}
}

// writeNodeFiles fills a node's directory, which the node can write to. A tunnel token that is there is kept: the node may be running.
func writeNodeFiles(l cluster.Layout, s cluster.Spec, n cluster.NodeSpec) error {
	if err := statefile.MkdirAll(filepath.Join(n.NodeDir, "logs"), 0o700); err != nil {
		return err
	}
	config, err := json.MarshalIndent(nodeConfig(s, n), "", "  ")
	if err != nil {
		return fmt.Errorf("encode node.json: %w", err)
	}
	ca, err := statefile.Read(l.PKI("ca.crt"))
	if err != nil {
		return err
	}
	token, err := statefile.Read(l.BootstrapToken())
	if err != nil {
		return err
	}
	tunnel := filepath.Join(n.NodeDir, filepath.Base(cluster.NodeTunnelToken))
	if _, err := os.Stat(tunnel); errors.Is(err, fs.ErrNotExist) {
		if err := statefile.Replace(tunnel, []byte(rand.Text()), 0o600); err != nil {
			return err
		}
	}
	return errors.Join(
		statefile.Replace(filepath.Join(n.NodeDir, filepath.Base(cluster.NodeConfigFile)), config, 0o600),
		statefile.Replace(filepath.Join(n.NodeDir, filepath.Base(cluster.NodeCAFile)), ca, 0o600),
		statefile.Replace(filepath.Join(n.NodeDir, filepath.Base(cluster.NodeBootstrap)),
			bootstrapKubeconfig(s, ca, strings.TrimSpace(string(token))), 0o600))
}

// bootstrapKubeconfig lets a kubelet ask for its certificate, over the node's own gateway address.
func bootstrapKubeconfig(s cluster.Spec, ca []byte, token string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
- name: kl
  cluster:
    certificate-authority-data: %s
    server: https://%s:%d
users:
- name: bootstrap
  user:
    token: %s
contexts:
- name: kl
  context:
    cluster: kl
    user: bootstrap
current-context: kl
`, base64.StdEncoding.EncodeToString(ca), s.Networking.Gateway, s.Kubernetes.APIServerPort, token)
}
