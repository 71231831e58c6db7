package cluster

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"time"
)

// DriverName names a driver in the Spec, on the command line and in the data about a node.
type DriverName string

// The drivers, and what leaves the choice to kl.
const (
	DriverAuto      DriverName = "auto"      // the first driver that works on this machine
	DriverDocker    DriverName = "docker"    // nodes are containers of a Docker engine
	DriverEmbedded  DriverName = "embedded"  // nodes are containers that kl runs itself (Linux, root)
	DriverSimulated DriverName = "simulated" // no real nodes: an API alone, or with nodes that kwok simulates
)

// DriverNames are the values that Spec.Driver can have.
func DriverNames() []DriverName {
	return []DriverName{DriverAuto, DriverDocker, DriverEmbedded, DriverSimulated}
}

// Driver makes nodes. List reads the backend, never a state file: labels on the container are the database. A Driver works
// for one owner, see Home.Owner: what others have on the same backend it neither lists nor touches, whatever its name, and
// names that others have are free for it. A Driver is safe for concurrent use.
type Driver interface {
	// Name is what the driver is asked for by; never DriverAuto.
	Name() DriverName
	// Create makes and starts a node. It returns ErrNodeExists if the name is taken, and leaves nothing behind when it
	// fails or ctx ends. The first node of a cluster also makes what the nodes share (a network).
	Create(ctx context.Context, spec NodeSpec) (Node, error)
	// List returns the nodes of a cluster ordered by name (see SortNodes), stopped ones too; of all clusters if cluster is empty.
	List(ctx context.Context, cluster string) ([]Node, error)
	// Delete stops and removes a node and its volumes. It returns nil if the node is already gone.
	Delete(ctx context.Context, n Node) error
	// Close releases the driver's connection; nodes keep running.
	Close() error
}

// Starter is a Driver whose nodes can be turned off and on again with their identity, address and data kept.
type Starter interface {
	Start(ctx context.Context, n Node) error
	Stop(ctx context.Context, n Node) error // graceful, then by force; nil if already stopped
	Kill(ctx context.Context, n Node) error // at once, as a power failure would
}

// Upgrader is a Driver whose nodes can be made of another payload.
type Upgrader interface {
	// Upgrade makes a stopped node of p, with its name, address and data kept, and returns it, still stopped. If that fails or
	// is interrupted, the node is of the one payload or of the other.
	Upgrade(ctx context.Context, n Node, p Payload) (Node, error)
}

// Mender is a Driver whose nodes need processes on this machine, which may be killed.
type Mender interface {
	// Mend replaces such processes of the cluster's nodes. Nodes that are off on purpose stay off.
	Mend(ctx context.Context, cluster string) error
}

// Pauser is a Driver whose nodes can be frozen.
type Pauser interface {
	Pause(ctx context.Context, n Node) error
	Resume(ctx context.Context, n Node) error
}

// Execer is a Driver that runs a command in a node.
type Execer interface {
	// Exec runs a command and returns its exit code; err is set only if it could not be run.
	Exec(ctx context.Context, n Node, cmd ExecSpec) (exitCode int, err error)
}

// Filer is a Driver that keeps its nodes' files on this machine, where they can be read while a node is off.
type Filer interface {
	// Files returns the logs that the driver itself keeps about a node, some of which may not exist, and the directory that the node has
	// at /var. The node writes there as root: no link in it may be followed out of it.
	Files(n Node) (logs []string, varDir string)
}

// Cleaner is a Driver that shares something between the nodes of a cluster (a network) or all clusters (an image).
type Cleaner interface {
	// DeleteCluster removes what the nodes of the cluster shared; nil if already gone. All nodes are deleted before.
	DeleteCluster(ctx context.Context, cluster string) error
}

// Purger is a Driver that keeps something for future clusters (images). `kl down --all` calls it.
type Purger interface {
	// Purge removes what no node uses.
	Purge(ctx context.Context) error
}

// Storer is a Driver that keeps nodes outside of $KL_HOME.
type Storer interface {
	// DataDir returns the directory; empty if it is not on this machine.
	DataDir(ctx context.Context) (string, error)
}

// Preparer is a Driver with slow work that can run beside the start of the control plane (importing an image).
type Preparer interface {
	Prepare(ctx context.Context, cluster string, p Payload) error
}

// ImageSource is a Driver whose backend has images of its own, which nodes can be given.
type ImageSource interface {
	// SaveImages returns the named images as one docker-archive. The error wraps ErrNoImage if one of them is unknown.
	SaveImages(ctx context.Context, names []string) (io.ReadCloser, error)
	// ImageIDs returns the IDs of images by name, which are digests of their configurations (of their indexes or manifests, if the backend
	// keeps images in a containerd), and the directory on this machine that it keeps them in; empty if it keeps them elsewhere, or not as
	// files. The error is as that of SaveImages.
	ImageIDs(ctx context.Context, names []string) (ids map[string]string, dir string, err error)
	// FindImage returns what the backend has under a name. The error is as that of SaveImages.
	FindImage(ctx context.Context, name string) (EngineImage, error)
	// ImageTags returns the names of images that differ from a name in their tags alone, in order.
	ImageTags(ctx context.Context, name string) ([]string, error)
}

// ImageWatcher is an ImageSource whose backend says when an image gets a name: it was built, tagged, loaded or pulled.
type ImageWatcher interface {
	ImageSource
	// WatchImages calls see for each such name since that time, in order, until ctx is done or the backend goes away, which is an error.
	// A name may come more than once with one ID.
	WatchImages(ctx context.Context, since time.Time, see func(name string, image EngineImage)) error
}

// EngineImage is an image of a container engine.
type EngineImage struct {
	ID     string    // digest of its configuration or, if the engine keeps images as containerd does, of its index or manifest
	Tagged time.Time // when it got its name, by the engine's clock; zero if the engine does not say
	Pulled bool      // it came from a registry or was pushed to one, as far as the engine knows
}

// ExecSpec is a command to run in a node. Nil streams are discarded.
type ExecSpec struct {
	Cmd    []string
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	TTY    bool
	Resize <-chan TermSize // new sizes of the terminal, with TTY
}

// TermSize is a terminal's size in cells.
type TermSize struct{ Width, Height uint }

// Payload is the unpacked content of the kl binary that nodes are made of.
type Payload struct {
	SHA    string // hex sha256 of the archive; names the node image
	Dir    string // absolute path of the unpacked payload
	Engine string // Dir/rootfs/usr/local/bin/kl-engine: static, also runs on the host
	Rootfs string // Dir/rootfs: root file system of a node, to be owned by root:root
	Runc   string // Dir/rootfs/usr/local/bin/runc
}

// NodeSpec is a node to be made. The driver shows TunnelDir at /kl/run, read-only, and NodeDir at /kl/node, SharedDir at
// /kl/shared and LayersDir at /kl/layers in the node, all writable.
type NodeSpec struct {
	Cluster     string
	Name        string // n1, n2, …: host name and Kubernetes node name
	Payload     Payload
	TunnelDir   string // host directory with this node's socket of the tunnel: Layout.TunnelDir
	NodeDir     string // host directory of this node: node.json, ca.crt, tunnel-token, logs/
	SharedDir   string // host directory of volumes that all nodes see; empty for none
	LayersDir   string // host directory of layers of images that all nodes of all clusters share; empty for none
	MilliCPUs   int64  // 0 means no limit
	MemoryBytes int64  // 0 means no limit
	Mounts      []Mount
	Ports       []Port
	Avoid       []netip.Prefix    // ranges that the nodes' network must not overlap: pods, services, gateway
	Labels      map[string]string // Kubernetes labels, kept by the backend so that List returns them
}

// NodeState is the state of a node as its backend sees it.
type NodeState string

// The states of a node.
const (
	NodeRunning NodeState = "Running"
	NodeStopped NodeState = "Stopped"
	NodePaused  NodeState = "Paused"
	NodeDamaged NodeState = "Damaged" // what the backend keeps about it cannot be read, see Node.Problem; Delete removes it
)

// Node is plain data about one node, as read from the backend.
type Node struct {
	Cluster     string     `json:"cluster"`
	Name        string     `json:"name"`
	Driver      DriverName `json:"driver"`
	ID          string     `json:"id"` // the backend's name for it: a container ID
	IP          string     `json:"ip"`
	State       NodeState  `json:"state"`
	Problem     string     `json:"problem,omitempty"` // what is wrong with it; of a damaged node only Cluster, Name, Driver and ID are known
	Created     time.Time  `json:"created"`
	PayloadSHA  string     `json:"payloadSHA,omitempty"`
	MilliCPUs   int64      `json:"milliCPUs,omitempty"`
	MemoryBytes int64      `json:"memoryBytes,omitempty"`

	Labels map[string]string `json:"labels,omitempty"` // NodeSpec.Labels
	Ports  []Port            `json:"ports,omitempty"`  // NodeSpec.Ports
}

// SortNodes orders nodes by cluster and then by name, n2 before n10: the order of Driver.List.
func SortNodes(nodes []Node) {
	slices.SortFunc(nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
}

// ErrNodeExists is returned by Driver.Create for a name that is taken.
var ErrNodeExists = errors.New("node exists")

// ErrNoEngine is wrapped by a driver whose backend does not answer.
var ErrNoEngine = errors.New("no container engine answers")

// ErrNoImage is returned by ImageSource.SaveImages for a name the backend does not know.
var ErrNoImage = errors.New("no such image")
