package clustertest

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
)

// backend is what the machines of all owners share: host ports and address ranges.
type backend struct {
	mu       sync.Mutex
	machines []*machine
	ids      int
}

// machine is what one owner has on the backend. Several Fakes may share it.
type machine struct {
	*backend
	owner    string
	networks map[string]*fakeNetwork // by cluster
	nodes    map[string]*fakeNode    // by cluster/name, those being created too
	images   map[string]bool         // by SHA of their payload
	named    latest.Value[[]namedImage]
	history  []string
}

// namedImage is that an image got a name.
type namedImage struct {
	name string
	cluster.EngineImage
}

type fakeNetwork struct {
	subnet netip.Prefix
	used   map[netip.Addr]bool
}

type fakeNode struct {
	node  cluster.Node
	spec  cluster.NodeSpec
	ready bool              // Create has returned
	made  bool              // its Create made the network
	files map[string]string // path → content
}

var errGone = errors.New("no such node")

// machine returns what an owner has.
func (b *backend) machine(owner string) *machine {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.machines {
		if m.owner == owner {
			return m
		}
	}
	m := &machine{backend: b, owner: owner, networks: map[string]*fakeNetwork{}, nodes: map[string]*fakeNode{}, images: map[string]bool{}}
	b.machines = append(b.machines, m)
	return m
}

func key(n cluster.Node) string { return n.Cluster + "/" + n.Name }

// volatile reports whether a file is on a tmpfs of the node.
func volatile(path string) bool {
	return strings.HasPrefix(path, "/run/") || strings.HasPrefix(path, "/tmp/")
}

// snapshot is a copy that shares nothing with the machine.
func (n *fakeNode) snapshot() cluster.Node {
	c := n.node
	c.Labels, c.Ports = maps.Clone(c.Labels), slices.Clone(c.Ports)
	return c
}

// reserve takes the name, the address and the published ports of a node that is being created.
func (m *machine) reserve(f *Fake, spec cluster.NodeSpec) (cluster.Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := spec.Cluster + "/" + spec.Name
	if _, taken := m.nodes[k]; taken {
		return cluster.Node{}, fmt.Errorf("create node %s: %w", spec.Name, cluster.ErrNodeExists)
	}
	if err := m.checkPorts(spec); err != nil {
		return cluster.Node{}, fmt.Errorf("create node %s: %w", spec.Name, err)
	}
	network, found := m.networks[spec.Cluster]
	if !found {
		network = &fakeNetwork{subnet: m.freeSubnet(spec.Avoid), used: map[netip.Addr]bool{}}
		m.networks[spec.Cluster] = network
	}
	addr := network.subnet.Addr().Next().Next() // .1 is the bridge
	for network.used[addr] {
		addr = addr.Next()
	}
	network.used[addr] = true
	m.ids++
	m.nodes[k] = &fakeNode{
		spec: spec, made: !found, files: map[string]string{},
		node: cluster.Node{
			Cluster: spec.Cluster, Name: spec.Name, Driver: f.DriverName, ID: fmt.Sprintf("%012x", m.ids),
			IP: addr.String(), State: cluster.NodeRunning, Created: f.Clock(), PayloadSHA: spec.Payload.SHA,
			MilliCPUs: spec.MilliCPUs, MemoryBytes: spec.MemoryBytes,
			Labels: maps.Clone(spec.Labels), Ports: slices.Clone(spec.Ports),
		},
	}
	return m.nodes[k].snapshot(), nil
}

func (m *machine) checkPorts(spec cluster.NodeSpec) error {
	for _, p := range spec.Ports {
		if !slices.Contains([]string{"", "tcp", "udp", "sctp"}, p.Protocol) {
			return fmt.Errorf("publish port %d: unknown protocol %s", p.Host, p.Protocol)
		}
	}
	for _, owner := range m.machines {
		for _, other := range owner.nodes {
			for _, p := range other.spec.Ports {
				if slices.ContainsFunc(spec.Ports, func(q cluster.Port) bool { return q.Host == p.Host && q.Protocol == p.Protocol }) {
					return fmt.Errorf("publish port %d: address already in use", p.Host)
				}
			}
		}
	}
	return nil
}

// freeSubnet returns the first /24 of 172.30.0.0/16 that overlaps neither another network nor the ranges to avoid.
func (m *machine) freeSubnet(avoid []netip.Prefix) netip.Prefix {
	for _, owner := range m.machines {
		for _, n := range owner.networks {
			avoid = append(slices.Clip(avoid), n.subnet)
		}
	}
	subnet := netip.MustParsePrefix("172.30.0.0/24")
	for third := byte(1); slices.ContainsFunc(avoid, subnet.Overlaps); third++ {
		subnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 30, third, 0}), 24)
	}
	return subnet
}

// commit makes a reserved node visible.
func (m *machine) commit(n cluster.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[key(n)].ready = true
	m.images[n.PayloadSHA] = true
	m.note("create", n)
}

// release undoes reserve. A network that this Create made is removed unless another node uses it.
func (m *machine) release(n cluster.Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	made := m.nodes[key(n)].made
	m.remove(n)
	if network := m.networks[n.Cluster]; made && len(network.used) == 0 {
		delete(m.networks, n.Cluster)
	}
}

// remove removes a node and frees its address. The caller holds the lock.
func (m *machine) remove(n cluster.Node) {
	node := m.nodes[key(n)]
	delete(m.nodes, key(n))
	delete(m.networks[n.Cluster].used, netip.MustParseAddr(node.node.IP))
}

// find returns the current state of a node.
func (m *machine) find(n cluster.Node) (cluster.Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, ok := m.nodes[key(n)]
	if !ok || !node.ready {
		return cluster.Node{}, fmt.Errorf("node %s: %w", n.Name, errGone)
	}
	return node.snapshot(), nil
}

// note records an operation. The caller holds the lock.
func (m *machine) note(op string, n cluster.Node) {
	m.history = append(m.history, strings.TrimSuffix(op+" "+key(n), "/"))
}

// dump describes what is on the machine, of one cluster alone if only is not empty.
func (m *machine) dump(only string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	if only == "" {
		for _, sha := range slices.Sorted(maps.Keys(m.images)) {
			fmt.Fprintf(&b, "image %s\n", sha)
		}
	}
	for _, c := range slices.Sorted(maps.Keys(m.networks)) {
		if only == "" || c == only {
			fmt.Fprintf(&b, "network kl-%s %s\n", c, m.networks[c].subnet)
		}
	}
	nodes := slices.SortedFunc(maps.Values(m.nodes), func(a, b *fakeNode) int { return strings.Compare(key(a.node), key(b.node)) })
	for _, n := range nodes {
		if only == "" || n.node.Cluster == only {
			n.dump(&b)
		}
	}
	return b.String()
}

func (n *fakeNode) dump(b *strings.Builder) {
	fmt.Fprintf(b, "node %s %s %s", key(n.node), n.node.State, n.node.IP)
	if !n.ready {
		b.WriteString(" half-made")
	}
	if n.node.MilliCPUs > 0 {
		fmt.Fprintf(b, " cpu=%dm", n.node.MilliCPUs)
	}
	if n.node.MemoryBytes > 0 {
		fmt.Fprintf(b, " memory=%d", n.node.MemoryBytes)
	}
	for _, k := range slices.Sorted(maps.Keys(n.spec.Labels)) {
		fmt.Fprintf(b, " %s=%s", k, n.spec.Labels[k])
	}
	for _, p := range n.spec.Ports {
		fmt.Fprintf(b, " port=%d:%d", p.Host, p.Node)
	}
	for _, v := range n.spec.Mounts {
		fmt.Fprintf(b, " mount=%s", v.Node)
	}
	b.WriteByte('\n')
	for _, path := range slices.Sorted(maps.Keys(n.files)) {
		fmt.Fprintf(b, "\tfile %s %q\n", path, n.files[path])
	}
}
