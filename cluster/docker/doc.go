// Package docker makes nodes that are Docker containers. The engine keeps everything about them, in the labels of containers,
// so every process with access to the engine sees the same nodes.
//
//	d, err := docker.New(ctx, docker.Options{Home: "/root/.kl", Logger: log})
//	if err != nil {
//		return err // wraps cluster.ErrNoEngine if no engine answers
//	}
//	defer d.Close()
//	n, err := d.Create(ctx, cluster.NodeSpec{Cluster: "kl", Name: "n1", Payload: payload, TunnelDir: run, NodeDir: dir})
//
// A cluster has one bridge network, kl-<cluster>; a node is the container <cluster>-<node> made from the image
// kl.local/node:<payload hash>-<owner>, which is imported from the unpacked payload when it is missing.
//
// Everything carries the label dev.kl.owner, an ID made of the path of the home directory, and no Driver sees or touches what
// another home owns. Homes can have clusters of one name: where the engine has a container or a network of a node's or a
// cluster's name already, whoever made it, the new one's name ends in the owner. Homes share an image, and each removes its
// own tag of it. What a kl before there were owners has made belongs to the home that the nodes' directories are in.
package docker
