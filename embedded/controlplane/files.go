package controlplane

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster"
)

// files are the configuration files of the upstream components and their sockets. They are rewritten at every start. They
// lie in the private directory, because nodes see the run directory and must not reach etcd.
type files struct {
	dir string // absolute
}

func (f files) path(name string) string                    { return filepath.Join(f.dir, name) }
func (f files) etcdPeerSocket() string                     { return f.path("peer.sock") }
func (f files) egressSocket() string                       { return f.path("egress.sock") }
func (f files) outwardSocket() string                      { return f.path("serve.sock") }
func (f files) auditWebhook() string                       { return f.path("audit-webhook.kubeconfig") }
func (f files) egress() string                             { return f.path("egress.yaml") }
func (f files) audit() string                              { return f.path("audit-policy.yaml") }
func (f files) authentication() string                     { return f.path("authentication.yaml") }
func (f files) scheduler() string                          { return f.path("scheduler.yaml") }
func (f files) kubeconfig(of cluster.ComponentName) string { return f.path(string(of) + ".kubeconfig") }

// maxSocketPath is the longest path of a unix socket that the kernel accepts, in bytes.
const maxSocketPath = 107

// writeFiles writes the configuration files of the upstream components.
func writeFiles(l cluster.Layout, spec cluster.Spec) (files, error) {
	dir, err := filepath.Abs(l.PrivateDir())
	if err != nil {
		return files{}, err
	}
	f := files{dir: dir}
	if n := len(f.egressSocket()); n > maxSocketPath {
		return f, fmt.Errorf("the path of socket %s is %d bytes long, more than %d: use a shorter directory", f.egressSocket(), n, maxSocketPath)
	}
	for _, d := range []string{dir, l.RunDir(), l.TunnelsDir(), filepath.Dir(l.LogFile("x")), l.EtcdDir()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return f, err
		}
	}
	return f, f.write(l, spec)
}

// write writes the files into f.dir, which exists.
func (f files) write(l cluster.Layout, spec cluster.Spec) error {
	policy, err := auditPolicyOf(spec.Audit)
	if err != nil {
		return err
	}
	write := map[string]string{
		f.egress(): fmt.Sprintf(egressConfig, f.egressSocket(), f.outwardSocket()),
		f.audit():  policy,

		f.authentication(): authenticationConfig,
	}
	if spec.Kubernetes.Scheduler != "" {
		config, err := schedulerConfig(spec.Kubernetes.Scheduler, f.kubeconfig(cluster.KubeScheduler))
		if err != nil {
			return err
		}
		write[f.scheduler()] = config
	}
	for path, content := range write {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	for component, identity := range map[cluster.ComponentName]string{
		cluster.KubeControllerManager: "controller-manager", cluster.KubeScheduler: "scheduler", adminKubeconfig: "super-admin",
	} {
		if err := clientcmd.WriteToFile(*kubeconfig(l, spec, identity), f.kubeconfig(component)); err != nil {
			return err
		}
	}
	return f.writeAudit(spec.Audit)
}

// kubeconfig returns the kubeconfig of an identity of the PKI. It refers to certificates by path.
func kubeconfig(l cluster.Layout, spec cluster.Spec, identity string) *clientcmdapi.Config {
	c := clientcmdapi.NewConfig()
	c.Clusters["kl"] = &clientcmdapi.Cluster{
		Server:               fmt.Sprintf("https://127.0.0.1:%d", spec.Kubernetes.APIServerPort),
		CertificateAuthority: absolute(l.Trust("ca")),
	}
	c.AuthInfos["kl"] = &clientcmdapi.AuthInfo{
		ClientCertificate: absolute(l.PKI(identity + ".crt")), ClientKey: absolute(l.PKI(identity + ".key")),
	}
	c.Contexts["kl"] = &clientcmdapi.Context{Cluster: "kl", AuthInfo: "kl"}
	c.CurrentContext = "kl"
	return c
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// schedulerConfig adds kl's settings to a KubeSchedulerConfiguration, given as YAML or as the absolute path of a file: how to
// reach the API, and no leader election, because the scheduler exits the process when it loses one.
func schedulerConfig(given, kubeconfig string) (string, error) {
	given, err := content(given)
	if err != nil {
		return "", fmt.Errorf("read scheduler configuration: %w", err)
	}
	config := map[string]any{}
	if err := yaml.Unmarshal([]byte(given), &config); err != nil {
		return "", fmt.Errorf("read scheduler configuration: %w", err)
	}
	if config["kind"] != "KubeSchedulerConfiguration" {
		return "", fmt.Errorf("read scheduler configuration: kind is %v, want KubeSchedulerConfiguration", config["kind"])
	}
	client, _ := config["clientConnection"].(map[string]any)
	if client == nil {
		client = map[string]any{}
	}
	client["kubeconfig"] = kubeconfig
	for key, value := range map[string]any{"qps": clientQPS, "burst": clientBurst} {
		if _, ok := client[key]; !ok {
			client[key] = value
		}
	}
	config["clientConnection"] = client
	config["leaderElection"] = map[string]any{"leaderElect": false}
	out, err := yaml.Marshal(config)
	return string(out), err
}

// egressConfig makes the API server dial into the cluster (kubelets, webhooks, aggregated APIs, proxied Services) through
// the tunnel. What the user names to the API server itself (a webhook of audit events, of authentication) is reached by serviceDialer.
const egressConfig = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      uds:
        udsName: %s
- name: controlplane
  connection:
    proxyProtocol: HTTPConnect
    transport:
      uds:
        udsName: %s
`

// authenticationConfig lets requests without credentials through to the paths that say whether the server lives, and which
// version it is. All others answer 401 before anything is authorized.
const authenticationConfig = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /livez
  - path: /readyz
  - path: /healthz
  - path: /version
`

// auditPolicy logs the metadata of requests, and leaves out what components read and renew all the time, but for Secrets:
// who reads one is what an audit log is for.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: Metadata
  resources:
  - {group: "", resources: [secrets]}
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*", "/version", "/openapi*", "/metrics"]
- level: None
  resources:
  - {group: coordination.k8s.io, resources: [leases]}
  - {group: "", resources: [events]}
  - {group: events.k8s.io, resources: [events]}
  - {group: authorization.k8s.io, resources: [subjectaccessreviews]}
  - {group: authentication.k8s.io, resources: [tokenreviews]}
- level: None
  userGroups: ["system:nodes", "system:serviceaccounts:kube-system"]
  verbs: [get, list, watch]
- level: None
  users: ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"]
  verbs: [get, list, watch]
- level: None
  userGroups: ["system:nodes"]
  resources:
  - {group: "", resources: [nodes/status]}
- level: Metadata
`
