// Package cluster is the domain of kl: what a cluster is, where it lives on disk, which nodes it has, and how it goes
// up and down. It knows nothing about Docker, runc or the Kubernetes components: nodes come from a [Driver], the control
// plane is another process that is started, watched and stopped through files and sockets below [Layout].
//
//	spec := cluster.DefaultSpec()
//	spec.Nodes = []cluster.NodeGroup{{Count: 2}}
//	layout := cluster.Home("/home/me/.kl").Cluster(spec.Name)
package cluster
