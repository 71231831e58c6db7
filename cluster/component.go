package cluster

// ComponentName is the name of a part of the control plane or of a node, as `kl status` and `kl logs` show it.
type ComponentName string

// The upstream components. Kubernetes.ExtraArgs may name each; those of the control plane have a log file of their own.
const (
	Etcd                  ComponentName = "etcd"
	KubeAPIServer         ComponentName = "kube-apiserver"
	KubeControllerManager ComponentName = "kube-controller-manager"
	KubeScheduler         ComponentName = "kube-scheduler"
	Kubelet               ComponentName = "kubelet"
	KubeProxy             ComponentName = "kube-proxy"
)

// ControlPlane is the role of the process that runs the control plane, and the name of its log: kl's own components, which
// have no log of their own.
const ControlPlane ComponentName = "control-plane"
