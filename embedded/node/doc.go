// Package node is the program of a node: kubelet, kube-proxy and kl's agent in one process. The agent joins the node to
// its cluster: it offers the API on the gateway address through the tunnel, gets credentials by TLS bootstrap, writes the
// CNI configuration, keeps the routes to the other nodes' pods, and answers the control plane's questions.
//
//	config, err := node.ReadConfig(cluster.NodeConfigFile)
//	…
//	err = node.Run(ctx, node.Options{Config: config, Version: version, Logger: log})
//
// Kubelet and kube-proxy cannot be started twice in a process, and leave it by os.Exit when they must be: then Run
// returns or the process ends, and PID 1 starts it again. Pods do not notice.
package node
