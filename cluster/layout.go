package cluster

import "path/filepath"

// Home is $KL_HOME: the directory below which kl keeps everything.
type Home string

// Layout is where one cluster's files are. Directories are 0700, keys 0600.
type Layout struct {
	Home Home
	Name string
}

// Cluster is the layout of a named cluster.
func (h Home) Cluster(name string) Layout { return Layout{Home: h, Name: name} }

// ClustersDir holds one directory a cluster.
func (h Home) ClustersDir() string { return filepath.Join(string(h), "clusters") }

// PayloadDir is where a payload of that hash is unpacked.
func (h Home) PayloadDir(sha string) string { return filepath.Join(string(h), "payload", sha) }

// LayersDir holds layers of images that all nodes of all clusters share; it is shown to each at /kl/layers. Nodes write there as root.
func (h Home) LayersDir() string { return filepath.Join(string(h), "layers") }

// RegistryDir holds images that were pushed to the home's registry or pulled through it, for all clusters.
func (h Home) RegistryDir() string { return filepath.Join(string(h), "registry") }

// Dir is the cluster's directory.
func (l Layout) Dir() string { return filepath.Join(l.Home.ClustersDir(), l.Name) }

// RemovedDir is where Dir is moved before it is removed: so a cluster is there or gone, however its removal ends.
func (l Layout) RemovedDir() string { return filepath.Join(l.Home.ClustersDir(), ".removed-"+l.Name) }

func (l Layout) path(elem ...string) string {
	return filepath.Join(append([]string{l.Dir()}, elem...)...)
}

// LockFile is locked while a process changes the cluster. It is outside of Dir, so that Dir can be removed under the lock.
func (l Layout) LockFile() string { return filepath.Join(string(l.Home), "locks", l.Name) }

// FailedFile holds the reason why the last control plane could not go on. It is gone while one runs.
func (l Layout) FailedFile() string { return l.path("run", "failed") }

// MergedFile lists the kubeconfig files that the cluster was merged into, one a line.
func (l Layout) MergedFile() string { return l.path("merged") }

// SpecFile is cluster.yaml.
func (l Layout) SpecFile() string { return l.path("cluster.yaml") }

// DriverFile says why driver auto became the one that the cluster has.
func (l Layout) DriverFile() string { return l.path("driver") }

// KubernetesFile says which version of Kubernetes the cluster's data is of: that of the control plane that was started last.
func (l Layout) KubernetesFile() string { return l.path("kubernetes") }

// PKI is the path of a certificate or key, named as kubeadm names it: ca.crt, apiserver.key, front-proxy-client.crt, …
func (l Layout) PKI(file string) string { return l.path("pki", file) }

// EtcdDir is etcd's data directory.
func (l Layout) EtcdDir() string { return l.path("etcd") }

// RunDir holds sockets, pid and locks. No node sees it: whoever reaches the status socket reaches every node's agent.
func (l Layout) RunDir() string { return l.path("run") }

// StatusSocket is where the control plane serves its Status and takes requests (HTTP).
func (l Layout) StatusSocket() string { return l.path("run", "status.sock") }

// TunnelsDir holds the TunnelDir of each node. No node sees it.
func (l Layout) TunnelsDir() string { return l.path("run", "tunnel") }

// TunnelDir holds one node's socket of the tunnel alone; it is shown to that node at /kl/run, read-only.
func (l Layout) TunnelDir(node string) string { return filepath.Join(l.TunnelsDir(), node) }

// TunnelSocket is what the node's agent dials.
func (l Layout) TunnelSocket(node string) string {
	return filepath.Join(l.TunnelDir(node), filepath.Base(NodeTunnelSocket))
}

// IdentityFile holds the NodeIdentity of a node. No node sees it.
func (l Layout) IdentityFile(node string) string { return l.path("identities", node+".json") }

// PrivateDir holds sockets and files of the control plane's parts, for each other. No node sees it.
func (l Layout) PrivateDir() string { return l.path("private") }

// EtcdSocket is where etcd listens: for the API server, and for clients that read its metrics (HTTP, /metrics).
func (l Layout) EtcdSocket() string { return filepath.Join(l.PrivateDir(), "etcd.sock") }

// PIDFile holds the control plane's process ID; the process holds a lock on it for as long as it lives.
func (l Layout) PIDFile() string { return l.path("run", "control-plane.pid") }

// SupervisorFile holds the Supervision of the control plane; its supervisor holds a lock on it for as long as it lives.
func (l Layout) SupervisorFile() string { return l.path("run", "supervisor.json") }

// LogFile is a component's log on the host.
func (l Layout) LogFile(component ComponentName) string {
	return l.path("logs", string(component)+".log")
}

// NodeDir is a node's directory, shown to the node at /kl/node.
func (l Layout) NodeDir(node string) string { return l.path("nodes", node) }

// SharedDir holds the volumes that all nodes share; it is shown to each at /kl/shared. Nodes write there as root.
func (l Layout) SharedDir() string { return l.path("shared") }

// NodeLogFile is the log of one of a node's programs: containerd or node.
func (l Layout) NodeLogFile(node, program string) string {
	return l.path("nodes", node, "logs", program+".log")
}

// Kubeconfig is the cluster's own administrator kubeconfig.
func (l Layout) Kubeconfig() string { return l.path("kubeconfig") }

// AuditLog is the API server's audit log.
func (l Layout) AuditLog() string { return l.path("audit.log") }

// EncryptionConfig is how the API server encrypts objects in etcd, with the keys. No node sees it.
func (l Layout) EncryptionConfig() string { return l.path("encryption.yaml") }

// NodeStoppedFile exists while a node is off on purpose: it stays off until the file is removed.
func (l Layout) NodeStoppedFile(node string) string { return l.path("nodes", node, "stopped") }

// NodePartitionFile exists while a node is cut off from the control plane and from its peers; its agent watches for it.
func (l Layout) NodePartitionFile(node string) string { return l.path("nodes", node, "partitioned") }

// ContextName is the name of the cluster's context, cluster and user in a kubeconfig.
func ContextName(cluster string) string { return "kl-" + cluster }
