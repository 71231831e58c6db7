package cluster

import (
	"slices"
	"strings"
)

// OwnFlags are the flags of an upstream component that are kl's alone, with what to use instead. Such a flag holds the
// cluster together, keeps a promise of SECURITY.md, or has a field of its own: Kubernetes.ExtraArgs must not set it.
func OwnFlags(component ComponentName) map[string]string {
	switch component {
	case Etcd:
		return ownEtcd()
	case KubeAPIServer:
		return ownAPIServer()
	case KubeControllerManager:
		return ownControllers()
	case KubeScheduler:
		return ownScheduler()
	case Kubelet:
		return ownKubelet()
	case KubeProxy:
		return ownProxy()
	}
	return nil
}

// What messages propose in place of a flag or field.
const (
	justKL     = "kl sets it"
	useGates   = "use kubernetes.featureGates"
	useGateway = "use networking.gateway"
	usePods    = "use networking.podCIDR"
	useService = "use networking.serviceCIDR"
	useDNS     = "use networking.dns"
	useLabels  = "use nodes[].labels"
	useTaints  = "use nodes[].taints"
	useNames   = "use nodes[].names"
	useSched   = "use kubernetes.schedulerConfig"
	usePatch   = "use kubernetes.kubeletPatch"
	useCrypt   = "use encryption, or 'kl secrets'"
	useKL      = "the cluster's own certificates and keys are used"
	localOnly  = "it listens on this machine alone; use 'kubectl port-forward' or 'kl expose' to reach what runs in the cluster"
	oneProcess = "it runs in the control plane's process, alone and without a port"
	oneMember  = "etcd has one member, which the API server reaches through a unix socket in the cluster's directory"
	nodesOwn   = "kl's nodes are made for it"
)

// list maps flags, which are separated by spaces, to what to use instead.
func list(into map[string]string, instead, flags string) {
	for _, f := range strings.Fields(flags) {
		into[f] = instead
	}
}

func ownEtcd() map[string]string {
	m := map[string]string{"unsafe-no-fsync": "use ephemeral: true"}
	list(m, oneMember, `name data-dir wal-dir listen-client-urls listen-peer-urls listen-client-http-urls advertise-client-urls
		initial-advertise-peer-urls initial-cluster initial-cluster-token discovery-endpoints discovery-token discovery-srv
		client-cert-auth trusted-ca-file cert-file key-file peer-client-cert-auth peer-trusted-ca-file peer-cert-file peer-key-file
		auto-tls peer-auto-tls`)
	list(m, justKL, "heartbeat-interval election-timeout warning-unary-request-duration")
	return m
}

func ownAPIServer() map[string]string {
	m := map[string]string{
		"secure-port": "use kubernetes.apiServerPort", "advertise-address": useGateway, "service-cluster-ip-range": useService,
		"runtime-config": "use kubernetes.runtimeConfig", "feature-gates": useGates,
		"bind-address":         localOnly,
		"authorization-mode":   "it is Node,RBAC; use Roles and ClusterRoles",
		"authorization-config": "authorization is Node,RBAC; use Roles and ClusterRoles",
	}
	list(m, "the API server stores its objects in the cluster's own etcd", `etcd-servers etcd-servers-overrides etcd-prefix etcd-cafile
		etcd-certfile etcd-keyfile storage-backend`)
	list(m, useKL, `client-ca-file tls-cert-file tls-private-key-file service-account-key-file service-account-signing-key-file
		kubelet-client-certificate kubelet-client-key kubelet-certificate-authority requestheader-client-ca-file
		requestheader-allowed-names requestheader-username-headers requestheader-group-headers requestheader-extra-headers-prefix
		proxy-client-cert-file proxy-client-key-file`)
	list(m, useCrypt, "encryption-provider-config encryption-provider-config-automatic-reload")
	list(m, justKL, `enable-bootstrap-token-auth kubelet-preferred-address-types enable-aggregator-routing egress-selector-config-file
		audit-log-path`)
	return m
}

func ownControllers() map[string]string {
	m := map[string]string{"service-cluster-ip-range": useService, "cluster-cidr": usePods, "feature-gates": useGates}
	list(m, oneProcess, "kubeconfig master leader-elect secure-port bind-address")
	list(m, useKL, "root-ca-file cluster-signing-cert-file cluster-signing-key-file service-account-private-key-file")
	list(m, justKL, "use-service-account-credentials allocate-node-cidrs controller-shutdown-timeout")
	return m
}

func ownScheduler() map[string]string {
	m := map[string]string{"config": useSched, "feature-gates": useGates}
	list(m, oneProcess, "kubeconfig master leader-elect secure-port bind-address")
	return m
}

func ownKubelet() map[string]string {
	m := map[string]string{
		"node-labels": useLabels, "register-with-taints": useTaints, "hostname-override": useNames,
		"cluster-dns": useDNS, "config": usePatch, "config-dir": usePatch,
	}
	list(m, useKL, "kubeconfig bootstrap-kubeconfig cert-dir client-ca-file rotate-certificates rotate-server-certificates")
	list(m, "the kubelet asks the API server about every request", "anonymous-auth authorization-mode authentication-token-webhook")
	list(m, nodesOwn, `node-ip cloud-provider container-runtime-endpoint image-service-endpoint cgroup-driver cgroup-root cluster-domain resolv-conf root-dir
		pod-manifest-path port healthz-port register-node make-iptables-util-chains fail-cgroupv1`)
	return m
}

// OwnKubeletFields is [OwnFlags] for Kubernetes.KubeletPatch. The levels of a field are separated by dots.
func OwnKubeletFields() map[string]string {
	m := map[string]string{"clusterDNS": useDNS, "registerWithTaints": useTaints}
	list(m, useKL, "authentication.x509.clientCAFile rotateCertificates serverTLSBootstrap")
	list(m, "the kubelet asks the API server about every request", `authentication.anonymous.enabled
		authentication.webhook.enabled authorization.mode`)
	list(m, nodesOwn, `apiVersion kind containerRuntimeEndpoint imageServiceEndpoint cgroupDriver cgroupRoot clusterDomain resolvConf
		staticPodPath port healthzPort registerNode makeIPTablesUtilChains failCgroupV1`)
	return m
}

func ownProxy() map[string]string {
	m := map[string]string{"cluster-cidr": usePods, "hostname-override": useNames, "config": "use flags"}
	list(m, useKL, "kubeconfig master")
	list(m, nodesOwn, "proxy-mode detect-local-mode cleanup")
	return m
}

// JoinedFlag returns kl's part of a flag that holds a list: what Kubernetes.ExtraArgs gives is added to that part, and may
// not take any of it away.
func JoinedFlag(component ComponentName, flag string) (kls []string, joined bool) {
	switch {
	case component == KubeAPIServer && flag == "enable-admission-plugins":
		return []string{"NodeRestriction", "DenyServiceExternalIPs"}, true
	case component == KubeControllerManager && flag == "controllers":
		// kl has a component of its own for the nodes' ranges; the others let nodes join.
		return []string{"*", "-node-ipam-controller", "bootstrap-signer-controller", "token-cleaner-controller"}, true
	}
	return nil, false
}

// Join adds a user's list to kl's.
func Join(kls []string, users string) string {
	out := slices.Clone(kls)
	for _, item := range strings.Split(users, ",") {
		if item = strings.TrimSpace(item); item != "" && !slices.Contains(out, item) {
			out = append(out, item)
		}
	}
	return strings.Join(out, ",")
}

// Contradicts returns the first item of a user's list that takes away one of kl's; empty if there is none. A list turns
// an item off with a minus before its name.
func Contradicts(kls []string, users string) string {
	for _, item := range strings.Split(users, ",") {
		item = strings.TrimSpace(item)
		name, off := strings.CutPrefix(item, "-")
		opposite := "-" + name
		if off {
			opposite = name
		}
		if slices.Contains(kls, opposite) {
			return item
		}
	}
	return ""
}
