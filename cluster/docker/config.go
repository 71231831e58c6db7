package docker

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/go-connections/nat"

	"github.com/klkube/kl/cluster"
)

// Labels of containers, networks, volumes and images. They hold everything that is known about a node.
const (
	labelOwner   = "dev.kl.owner" // of all but images, which owners share: Home.Owner
	labelHome    = "dev.kl.home"  // the owner in words: for people
	labelCluster = "dev.kl.cluster"
	labelNode    = "dev.kl.node"
	labelPayload = "dev.kl.payload"
	labelIP      = "dev.kl.ip"
	labelSubnet  = "dev.kl.subnet"
	labelCPUs    = "dev.kl.milli-cpus"
	labelMemory  = "dev.kl.memory-bytes"
	labelLabels  = "dev.kl.labels" // JSON of NodeSpec.Labels
	labelPorts   = "dev.kl.ports"  // JSON of NodeSpec.Ports

	labelReplaces = "dev.kl.replaces" // ID of the container that Upgrade made this one from
)

// stopTimeout is how long a node has to shut down before it is killed.
const stopTimeout = 20 * time.Second

func containerName(clusterName, node string) string { return clusterName + "-" + node }

// configure describes the container of a node.
func (d *Driver) configure(spec cluster.NodeSpec, net nodeNetwork, addr netip.Addr, info system.Info) (*container.Config, *container.HostConfig, *network.NetworkingConfig, error) {
	labels, err := d.labelsOf(spec, net.subnet, addr)
	if err != nil {
		return nil, nil, nil, err
	}
	exposed, bindings, err := portsOf(spec.Ports)
	if err != nil {
		return nil, nil, nil, err
	}
	timeout := int(stopTimeout.Seconds())
	c := &container.Config{
		Hostname: spec.Name, Image: d.imageName(spec.Payload), Labels: labels, ExposedPorts: exposed,
		Entrypoint: []string{"/usr/local/bin/kl-init"}, Env: []string{"PATH=" + path},
		StopSignal: "SIGTERM", StopTimeout: &timeout,
	}
	h := &container.HostConfig{
		NetworkMode:   container.NetworkMode(net.name),
		CgroupnsMode:  container.CgroupnsModePrivate,
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped},
		PortBindings:  bindings,
		Mounts:        append(d.mountsOf(spec, info), engineMounts(info)...),
		Tmpfs:         map[string]string{"/run": "exec,mode=755", "/tmp": "exec,mode=1777"},
		LogConfig:     container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "5m", "max-file": "2"}},
	}
	if err := limit(h, spec, info); err != nil {
		return nil, nil, nil, err
	}
	d.modes.apply(h)
	n := &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
		net.name: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: addr.String()}},
	}}
	return c, h, n, nil
}

func (d *Driver) labelsOf(spec cluster.NodeSpec, subnet netip.Prefix, addr netip.Addr) (map[string]string, error) {
	labels := map[string]string{
		labelOwner: d.owner, labelHome: string(d.home), labelCluster: spec.Cluster, labelNode: spec.Name, labelPayload: spec.Payload.SHA,
		labelIP: addr.String(), labelSubnet: subnet.String(),
		labelCPUs: strconv.FormatInt(spec.MilliCPUs, 10), labelMemory: strconv.FormatInt(spec.MemoryBytes, 10),
	}
	for name, value := range map[string]any{labelLabels: spec.Labels, labelPorts: spec.Ports} {
		data, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("encode label %s: %w", name, err)
		}
		labels[name] = string(data)
	}
	return labels, nil
}

func (d *Driver) mountsOf(spec cluster.NodeSpec, info system.Info) []mount.Mount {
	mounts := []mount.Mount{
		{Type: mount.TypeVolume, Target: "/var", VolumeOptions: &mount.VolumeOptions{
			Labels: map[string]string{labelOwner: d.owner, labelHome: string(d.home), labelCluster: spec.Cluster, labelNode: spec.Name},
		}},
		{Type: mount.TypeBind, Source: spec.TunnelDir, Target: cluster.TunnelMountDir, ReadOnly: true},
		{Type: mount.TypeBind, Source: spec.NodeDir, Target: cluster.NodeMountDir},
	}
	if spec.SharedDir != "" {
		mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: spec.SharedDir, Target: cluster.SharedMountDir})
	}
	if spec.LayersDir != "" {
		mounts = append(mounts, d.layersMount(spec, info))
	}
	for _, m := range spec.Mounts {
		mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: m.Host, Target: m.Node, ReadOnly: m.ReadOnly})
	}
	return mounts
}

func portsOf(ports []cluster.Port) (nat.PortSet, nat.PortMap, error) {
	exposed, bindings := nat.PortSet{}, nat.PortMap{}
	for _, p := range ports {
		protocol, address := p.Protocol, p.Address
		if protocol == "" {
			protocol = "tcp"
		}
		if address == "" {
			address = "127.0.0.1"
		}
		port, err := nat.NewPort(protocol, strconv.Itoa(p.Node))
		if err != nil {
			return nil, nil, fmt.Errorf("publish port %d: %w", p.Node, err)
		}
		exposed[port] = struct{}{}
		bindings[port] = append(bindings[port], nat.PortBinding{HostIP: address, HostPort: strconv.Itoa(p.Host)})
	}
	return exposed, bindings, nil
}

// limit sets the limits on CPU and memory. A rootless engine on cgroup v1 has none.
func limit(h *container.HostConfig, spec cluster.NodeSpec, info system.Info) error {
	if spec.MemoryBytes > 0 && !info.MemoryLimit || spec.MilliCPUs > 0 && !info.CPUCfsQuota {
		return &cluster.Error{
			Op: "limit the capacity", Node: spec.Name,
			Err:  fmt.Errorf("the engine cannot limit CPU or memory (cgroup v%s)", info.CgroupVersion),
			Hint: "leave out CPU and memory limits, or delegate the cgroup controllers to the engine (cgroup v2)",
		}
	}
	h.NanoCPUs = spec.MilliCPUs * 1_000_000
	h.Memory = spec.MemoryBytes
	if info.SwapLimit {
		h.MemorySwap = spec.MemoryBytes // of memory and swap together: no swap on top, as the kubelet does not count any
	}
	return nil
}
