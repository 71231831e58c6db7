// Package native makes nodes without a container engine: on Linux, as root, from the payload alone. A node is an overlay
// over the payload's root file system, run by the payload's runc in namespaces of its own, with a veth into a bridge
// that the nodes of its cluster share.
//
//	d, err := native.New(ctx, native.Options{Home: "/root/.kl", Logger: log})
//	if errors.Is(err, cluster.ErrNoEngine) {
//		… // not Linux, or not root
//	}
//	n, err := d.Create(ctx, cluster.NodeSpec{Cluster: "kl", Name: "n1", Payload: payload, RunDir: run, NodeDir: dir})
//
// # What there is
//
// A node's directory Home/embedded/<cluster>/<node> holds its runc bundle, its files (upper, var) and the log of its
// console; annotations in the bundle say all that List tells. What the kernel holds for a cluster is named after an ID
// made of Home and the cluster's name, so clusters of several homes live side by side: the bridge kl-<id>, the nftables
// table kl-<id> with one masquerade rule, the cgroup /kl-<id>/<node> and runc's state below /run/kl/<id>. Where another
// firewall drops what the machine forwards, as Docker's does, kl adds accept rules for its bridge to the chains that
// drop; they carry the ID as a comment and go with the cluster. Tables of iptables' first generation get theirs from the
// iptables-legacy program, where that is. IP forwarding is turned on and stays on. Nothing else of the host is needed or
// changed; inside a container with cgroup v2, processes move out of its root cgroup so that nodes can have controllers.
//
// Verbs of several processes are kept apart by locks on directories: /run/kl while addresses are given out and networks
// come and go, a node's own directory while something is done to it. A directory is made and removed by renaming it, so
// a crash at any point leaves a node that Delete takes, or remains that the next DeleteCluster sweeps up.
//
// # The supervisor
//
// Each node has a small process of its own, a re-execution of the program ([Options.Supervisor]) that calls [Supervise].
// It starts the node's init with the overlay mounted in a mount namespace of its own, so that no mount ever shows on
// the host; plugs the node into the bridge; starts it again when it ends, with back-off, unless it was turned off; and
// listens for the published ports, which it copies to the node. It needs neither the command that made the node nor
// the control plane. If the supervisor is killed the node runs on, unsupervised, until it is stopped.
package native
