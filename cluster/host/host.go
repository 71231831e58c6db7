package host

import (
	"context"
	"io"
	"log/slog"

	"github.com/klkube/kl/cluster"
)

// Plan is what Preflight knows about the cluster that is about to be started.
type Plan struct {
	Cluster string
	Exists  bool   // it was made before
	Nodes   int    // real ones
	DataDir string // where the driver keeps nodes, if that is outside of Home and on this machine
}

// Host is a machine that clusters live on. Its methods are safe for concurrent use, from several processes too: what
// changes a cluster holds that cluster's lock.
type Host struct {
	Home cluster.Home
	// OpenDriver returns the driver of that name. The caller closes it.
	OpenDriver func(ctx context.Context, name cluster.DriverName) (cluster.Driver, error)
	// Drivers are the names that driver auto tries, in this order.
	Drivers []cluster.DriverName
	// Payload returns the unpacked payload, from which nodes and the control plane are made.
	Payload func(ctx context.Context) (cluster.Payload, error)
	// Kubernetes is the version that this program brings, such as v1.37.2. Up upgrades clusters of an older one, and refuses those
	// of a newer minor version. Empty does neither.
	Kubernetes string
	// KubernetesOf returns the version in the unpacked payload with that hash. Nil leaves nodes as they are.
	KubernetesOf func(sha string) (string, error)
	// Prune removes unpacked payloads that were not used for a while, but for those with the hashes in keep; nil keeps all.
	Prune func(ctx context.Context, keep []string) error
	// Supervisor is a program that passes SuperviseCommand to Supervise; the running program itself if empty.
	Supervisor string
	// Preflight checks the machine before up starts anything. What would fail is an error; warn is called with what might.
	// Nil checks nothing.
	Preflight func(ctx context.Context, p Plan, warn func(string)) error
	// Simulate makes the cluster have as many simulated nodes as its Spec asks for, and reports how many of how many it
	// has done; the API answers by then. Nil refuses clusters with simulated nodes.
	Simulate func(ctx context.Context, l cluster.Layout, s cluster.Spec, progress func(done, of int)) error
	// StartAtBoot makes the machine start a cluster when it boots, or no longer; nil does nothing.
	StartAtBoot func(ctx context.Context, l cluster.Layout, on bool) (cluster.Autostart, error)
	// Kubectl runs kubectl as the cluster's administrator and writes what it prints to out. Nil refuses what needs it:
	// draining nodes, deleting Node objects, changing labels and taints.
	Kubectl func(ctx context.Context, l cluster.Layout, out io.Writer, args ...string) error
	// Events is called with what happens, one call at a time; nil discards.
	Events func(cluster.Event)
	// Loading is called often while images are loaded, one call at a time; it may be nil.
	Loading func(Loading)
	// Logger gets details for debugging; nil discards.
	Logger *slog.Logger
	// Kubeconfigs are the files kubectl reads ($KUBECONFIG or ~/.kube/config), in its order.
	Kubeconfigs []string
}
