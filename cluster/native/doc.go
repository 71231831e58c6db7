// Package native makes nodes without a container engine: on Linux, as root, from the payload alone. A node is an overlay
// over the payload's root file system, run by the payload's runc in namespaces of its own, with a veth into a bridge
// that the nodes of its cluster share.
//
//	d, err := native.New(ctx, native.Options{Home: "/root/.kl", Logger: log})
//	if err != nil {
//		return err // wraps cluster.ErrNoEngine if this is not Linux, or the user is not root
//	}
//	n, err := d.Create(ctx, cluster.NodeSpec{Cluster: "kl", Name: "n1", Payload: payload, TunnelDir: run, NodeDir: dir})
//
// # What the driver puts on the machine
//
// A node's directory Home/embedded/<cluster>/<node> holds its runc bundle, its files (upper, var) and its console log; an
// annotation of the bundle holds all that List returns. What the kernel holds for a cluster is named after an ID made of
// Home and the cluster's name, so that clusters of several homes can coexist: the bridge kl-<id>, the nftables table kl-<id>
// that masquerades what nodes send and lets nobody but this machine and the nodes connect to them, the one of the same name
// in family netdev that keeps each node to its own addresses, the cgroup /kl-<id>/<node> and runc's state in /run/kl/<id>. Where another firewall drops
// forwarded packets, as Docker's does, accept rules for the bridge are added to its chains; they carry the ID as a comment
// and are removed with the cluster. Chains of legacy iptables get theirs from the iptables-legacy program, if that is
// installed. IP forwarding is turned on, and turned off again with the last cluster if it was off. Nothing else of the host is needed or changed, except inside a
// container with cgroup v2: there, processes are moved out of the root cgroup so that nodes can have controllers.
//
// Locks on directories keep processes from interfering: on /run/kl while addresses are assigned and networks made or
// removed, on a node's own directory while the node is changed. A directory is made and removed by renaming it, so a crash
// leaves either a node that Delete can remove or remains that the next DeleteCluster removes.
//
// # The supervisor
//
// Each node has a small process of its own, a re-execution of the program ([Options.Supervisor]) that calls [Supervise]. It
// starts the node's init with the overlay mounted in a mount namespace of its own, so that the host never sees the mount;
// connects the node to the bridge; restarts the node when it ends, with back-off, unless it was stopped; and listens on the
// published ports and copies what arrives there to the node. It needs neither the command that made the node nor the
// control plane. If the supervisor is killed the node runs on, unsupervised, until it is stopped.
package native
