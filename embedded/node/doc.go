// Package node is the program of a node: kubelet, kube-proxy and kl's agent in one process. The agent joins the node to
// its cluster: it offers the API on the gateway address through the tunnel, gets credentials by TLS bootstrap, writes the
// CNI configuration, keeps the routes to the other nodes' pods, and serves the control plane's requests. [ReadConfig] reads
// the node's configuration, [Run] does the rest.
//
// Kubelet and kube-proxy cannot be started twice in a process, and exit it when they need a restart. Then Run returns or
// the process ends, and PID 1 starts it again. Pods keep running.
package node
