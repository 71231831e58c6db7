// Package controlplane is the control plane of one cluster in one process: etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler as upstream wrote them, and kl's own parts around them: the tunnel to the
// nodes, the first objects of the cluster, the approver of kubelets' serving certificates, and the status socket that
// tells how all of it is doing.
//
//	plane := &controlplane.Plane{Layout: layout, Started: started, Logger: logger}
//	err := plane.Run(ctx) // serves until ctx is done or somebody asks for a stop on the status socket
//
// Feature gates, metric registries, klog and the garbage collector's settings belong to the whole process, so a process
// runs one Plane, once. Nothing listens on anything but 127.0.0.1 and unix sockets.
//
// What starts when (times are on the component status, see [cluster.ComponentStatus]):
//
//	etcd ─► kube-apiserver ─┬─► kube-controller-manager
//	tunnel                  ├─► kube-scheduler
//	egress                  ├─► bootstrap (first objects)
//	                        ├─► approver
//	                        └─► observer (nodes, DNS)
//
// Logs go to one file a component below the cluster's logs directory: etcd.log, kube-controller-manager.log and
// kube-scheduler.log hold what these log through the logger in their context. klog's global logger cannot be split by
// caller, so kube-apiserver.log holds everything the API server logs and, among it, the few lines of other Kubernetes code
// that still use the global logger. kl's own parts log to control-plane.log, the standard error of the process.
package controlplane
