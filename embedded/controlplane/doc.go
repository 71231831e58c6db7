// Package controlplane runs the control plane of one cluster in one process: etcd, kube-apiserver, kube-controller-manager and
// kube-scheduler from upstream, and kl's own components: the tunnel to the nodes, the first objects of the cluster, the
// approver of kubelets' serving certificates, and the status socket.
//
// Feature gates, metric registries, klog and the garbage collector's settings are those of the process, so a process runs one
// Plane, once. It listens on 127.0.0.1 and unix sockets only.
//
// The components start in this order; when each began and was ready is in its [cluster.ComponentStatus]:
//
//	etcd ─► kube-apiserver ─► roles ─┬─► kube-controller-manager
//	tunnel                           ├─► kube-scheduler
//	egress                           ├─► node-ipam
//	                                 ├─► bootstrap (first objects)
//	                                 ├─► approver
//	                                 └─► observer (nodes, DNS)
//
// Each upstream component has a log file in the cluster's logs directory. Code that uses klog's global logger instead of the
// one in its context cannot be told apart, and logs to kube-apiserver.log. kl's own components log to control-plane.log, which
// is the standard error of the process.
package controlplane
