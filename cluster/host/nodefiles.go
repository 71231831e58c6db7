package host

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

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
				Cluster: s.Name, Name: name, Payload: p, TunnelDir: l.TunnelDir(name), NodeDir: l.NodeDir(name), SharedDir: l.SharedDir(),
				LayersDir: l.Home.LayersDir(),
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

// writeNodeFiles fills a node's directory, which the node can write to, and makes the one with its socket. certs are the
// certificate authorities that the machine trusts.
func writeNodeFiles(l cluster.Layout, s cluster.Spec, n cluster.NodeSpec, token string, certs []byte) error {
	if err := errors.Join(statefile.MkdirAll(filepath.Join(n.NodeDir, "logs"), 0o700), statefile.MkdirAll(n.TunnelDir, 0o700)); err != nil {
		return err
	}
	if os.Getenv("KL_PROFILE") != "" { // for people who work on kl: see cmd/kl-engine/profile.go
		if err := statefile.MkdirAll(filepath.Join(n.NodeDir, filepath.Base(cluster.NodeProfileDir)), 0o700); err != nil {
			return err
		}
	}
	rotation, err := cluster.ReadRotation(l)
	if err != nil {
		return err
	}
	settings := nodeConfig(s, n)
	settings.RenewBefore = rotation.Switched
	config, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		return fmt.Errorf("encode node.json: %w", err)
	}
	ca, err := statefile.Read(l.Trust("ca"))
	if err != nil {
		return err
	}
	return errors.Join(
		statefile.Replace(filepath.Join(n.NodeDir, filepath.Base(cluster.NodeTunnelToken)), []byte(token), 0o600),
		writeMachineCertificates(n, certs),
		statefile.Replace(filepath.Join(n.NodeDir, filepath.Base(cluster.NodeConfigFile)), config, 0o600),
		statefile.Replace(filepath.Join(n.NodeDir, filepath.Base(cluster.NodeCAFile)), ca, 0o600))
}

// identify returns the identity of a node of the cluster, and writes what is new of it: one that is to be made gets a token, and
// one that exists has the address that its driver says. A token that is there is kept: an engine may still be making the node that
// a command which was killed asked for.
func identify(l cluster.Layout, node string, existing *cluster.Node) (cluster.NodeIdentity, error) {
	id, err := cluster.ReadNodeIdentity(l, node)
	if existing == nil {
		if err == nil && !id.Address.IsValid() {
			return id, nil
		}
		if err != nil {
			id.Token = rand.Text()
		}
		id.Address = netip.Addr{}
		return id, cluster.WriteNodeIdentity(l, node, id)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return id, &cluster.Error{
			Op: "start node", Node: node, Err: errors.New("it was made by an older kl, with which this one shares no tunnel"),
			Hint: fmt.Sprintf("make it again: 'kl node remove %s --force --name %s' and 'kl node add'", node, l.Name),
		}
	}
	if err != nil {
		return id, err
	}
	if address, err := netip.ParseAddr(existing.IP); err == nil && address != id.Address { // a damaged node has none
		id.Address = address
		return id, cluster.WriteNodeIdentity(l, node, id)
	}
	return id, nil
}

// removeNodeFiles removes the files of a node that is gone.
func removeNodeFiles(l cluster.Layout, node string) error {
	return errors.Join(os.RemoveAll(l.IdentityFile(node)), os.RemoveAll(l.TunnelDir(node)), os.RemoveAll(l.NodeDir(node)))
}
