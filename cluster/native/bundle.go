//go:build linux

package native

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// bundle is the directory of a node: config.json for runc, and the node's own files. It holds all there is to know about a
// node.
type bundle struct{ dir string }

func (d *Driver) bundle(clusterName, node string) bundle {
	return bundle{filepath.Join(d.root, clusterName, node)}
}

func (b bundle) name() string          { return filepath.Base(b.dir) }
func (b bundle) clusterDir() string    { return filepath.Dir(b.dir) }
func (b bundle) scope() scope          { return scopeOf(b.clusterDir()) }
func (b bundle) config() string        { return filepath.Join(b.dir, "config.json") }
func (b bundle) rootfs() string        { return filepath.Join(b.dir, "rootfs") } // where the overlay is mounted
func (b bundle) upper() string         { return filepath.Join(b.dir, "upper") }
func (b bundle) work() string          { return filepath.Join(b.dir, "work") }
func (b bundle) varDir() string        { return filepath.Join(b.dir, "var") }
func (b bundle) console() string       { return filepath.Join(b.dir, "console.log") }
func (b bundle) supervisorLog() string { return filepath.Join(b.dir, "supervisor.log") }
func (b bundle) pidFile() string       { return filepath.Join(b.dir, "init.pid") }
func (b bundle) offFile() string       { return filepath.Join(b.dir, "off") } // exists if Stop or Kill ended the node

// supervisorLock is the file that the node's supervisor holds the lock on.
func (b bundle) supervisorLock() string { return filepath.Join(b.dir, "supervisor") }

// record is stored as an annotation of a node's bundle.
type record struct {
	Spec    cluster.NodeSpec `json:"spec"`
	Subnet  netip.Prefix     `json:"subnet"`
	Addr    netip.Addr       `json:"addr"`
	Created time.Time        `json:"created"`
}

const recordAnnotation = "dev.kl.record"

// writeTo writes the bundle's config.json to a file that will be renamed into the bundle.
func (b bundle) writeTo(file string, r record) error {
	data, err := b.encode(filepath.Dir(file), r)
	if err != nil {
		return err
	}
	return statefile.Create(file, data, 0o600)
}

// encode returns config.json. dir is on the file system that the node's device files will be on.
func (b bundle) encode(dir string, r record) ([]byte, error) {
	spec, err := ociSpec(b, r, devices("/dev", mayMake(dir)))
	if err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode bundle: %w", err)
	}
	return data, nil
}

// clusterName is the name of the cluster that the node's directory is in.
func (b bundle) clusterName() string { return filepath.Base(b.clusterDir()) }

func (b bundle) home() cluster.Home { return cluster.Home(filepath.Dir(filepath.Dir(b.clusterDir()))) }

// damaged is the error for a file of the node that cannot be read.
func (b bundle) damaged(file string, err error) error {
	return cluster.Damaged(b.home().Cluster(b.clusterName()), file, err)
}

// read returns errNoNode if there is no such node. Any other error names the file that is damaged.
func (b bundle) read() (record, error) {
	data, err := statefile.Read(b.config())
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(b.dir); errors.Is(err, fs.ErrNotExist) {
			return record{}, errNoNode
		}
	}
	if err != nil {
		return record{}, b.damaged(b.config(), err)
	}
	var config struct {
		Annotations map[string]string `json:"annotations"`
	}
	var r record
	if err := statefile.DecodeJSON(data, &config); err != nil {
		return record{}, b.damaged(b.config(), err)
	}
	if err := statefile.DecodeJSON([]byte(config.Annotations[recordAnnotation]), &r); err != nil {
		return record{}, b.damaged(b.config(), fmt.Errorf("annotation %s %w", recordAnnotation, err))
	}
	if r.Spec.Cluster != b.clusterName() || r.Spec.Name != b.name() || !r.Addr.IsValid() || !r.Subnet.IsValid() {
		err := fmt.Errorf("annotation %s is of node %q of cluster %q, address %s", recordAnnotation, r.Spec.Name, r.Spec.Cluster, r.Addr)
		return record{}, b.damaged(b.config(), err)
	}
	return r, nil
}

// ociSpec describes a node to runc. The node gets every capability that this process can pass on: a node is not a security
// boundary, it is the machine that confines its pods.
func ociSpec(b bundle, r record, devices []specs.LinuxDevice) (*specs.Spec, error) {
	have, _, err := cluster.Capabilities(0)
	if err != nil {
		return nil, err
	}
	caps := make([]string, len(have))
	for i, c := range have {
		caps[i] = "CAP_" + c
	}
	encoded, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode bundle: %w", err)
	}
	kmsg := specs.LinuxDevice{Path: "/dev/kmsg", Type: "c", Major: 1, Minor: 11}
	return &specs.Spec{
		Version:  "1.0.2", // understood by every runc since 1.0
		Hostname: r.Spec.Name,
		Root:     &specs.Root{Path: b.rootfs()},
		Process: &specs.Process{
			Args: []string{"/usr/local/bin/kl-init"}, Cwd: "/",
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "container=kl"},
			Capabilities: &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
		},
		Mounts:      mounts(b, r.Spec),
		Annotations: map[string]string{recordAnnotation: string(encoded)},
		Linux: &specs.Linux{
			CgroupsPath: b.scope().cgroup() + "/" + b.name(),
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
			},
			Devices: append(devices, kmsg), Resources: resources(r.Spec), RootfsPropagation: "private",
		},
	}, nil
}

func mounts(b bundle, spec cluster.NodeSpec) []specs.Mount {
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc"},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime"}},
		{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=755"}},
		{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}},
		bind(b.varDir(), "/var", false),
		bind(spec.TunnelDir, cluster.TunnelMountDir, true),
		bind(spec.NodeDir, cluster.NodeMountDir, false),
	}
	if spec.SharedDir != "" {
		list = append(list, bind(spec.SharedDir, cluster.SharedMountDir, false))
	}
	if spec.LayersDir != "" {
		list = append(list, bind(spec.LayersDir, cluster.LayersMountDir, false))
	}
	list = append(list, engineMounts(dockerConfig)...)
	for _, m := range spec.Mounts {
		list = append(list, bind(m.Host, m.Node, m.ReadOnly))
	}
	return list
}

func bind(host, node string, readOnly bool) specs.Mount {
	m := specs.Mount{Destination: node, Type: "bind", Source: host, Options: []string{"rbind", "rw", "rprivate"}}
	if readOnly {
		m.Options[1] = "ro"
	}
	return m
}

// resources allows all devices, as in a privileged container, and sets the limits on CPU and memory.
func resources(spec cluster.NodeSpec) *specs.LinuxResources {
	r := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}
	if spec.MemoryBytes > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &spec.MemoryBytes}
		if swapIsAccounted() {
			r.Memory.Swap = &spec.MemoryBytes // of memory and swap together: no swap on top
		}
	}
	if spec.MilliCPUs > 0 {
		period, quota := uint64(100_000), spec.MilliCPUs*100
		r.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	}
	return r
}

// node returns the node as List shows it.
func (r record) node(id string, state cluster.NodeState) cluster.Node {
	return cluster.Node{
		Cluster: r.Spec.Cluster, Name: r.Spec.Name, Driver: cluster.DriverEmbedded, ID: id, IP: r.Addr.String(), State: state,
		Created: r.Created, PayloadSHA: r.Spec.Payload.SHA, MilliCPUs: r.Spec.MilliCPUs, MemoryBytes: r.Spec.MemoryBytes,
		Labels: r.Spec.Labels, Ports: r.Spec.Ports,
	}
}

// lastLines returns the end of the console log of the node.
func (b bundle) lastLines() []string {
	data, err := statefile.Read(b.console())
	if err != nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[max(0, len(lines)-20):]
}
