// Package docker makes nodes that are Docker containers. The engine keeps everything about them, in the labels of containers,
// so every process with access to the engine sees the same nodes.
//
//	d, err := docker.New(ctx, docker.Options{Logger: log})
//	if err != nil {
//		return err // wraps cluster.ErrNoEngine if no engine answers
//	}
//	defer d.Close()
//	n, err := d.Create(ctx, cluster.NodeSpec{Cluster: "kl", Name: "n1", Payload: payload, TunnelDir: run, NodeDir: dir})
//
// A cluster has one bridge network, kl-<cluster>; a node is the container <cluster>-<node> made from the image
// kl.local/node:<payload hash>, which is imported from the unpacked payload when it is missing.
package docker
