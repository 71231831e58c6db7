package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/spf13/pflag"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	kubeletapis "k8s.io/kubelet/pkg/apis"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	kubeletscheme "k8s.io/kubernetes/pkg/kubelet/apis/config/scheme"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/boot"
)

// Settings of the kubelet.
const (
	certDir           = "/var/lib/kubelet/pki"
	kubeconfigFile    = "/var/lib/kubelet/kubeconfig" // the node's credentials, written by TLS bootstrap
	containerdSocket  = "/run/containerd/containerd.sock"
	criEndpoint       = "unix://" + containerdSocket
	imageSocket       = "/run/kl/images.sock" // see package pull
	minFreeMemory     = "50Mi"                // with less, the node evicts pods
	fullPercent       = 100                   // of the disk, below which no image is removed for lack of space: the disk belongs to the host
	staticPods        = "/etc/kubernetes/manifests"
	kubeletHealthPort = 10248
	statusInterval    = time.Second     // upstream: 10 s
	statusReport      = 5 * time.Minute // upstream's, which holds only as long as the interval is upstream's, too
	maxPodProcesses   = 4096            // a pod that forks without end stops there, not at the machine's limit

	// unusedImageAge is how long the kubelet keeps an image that no pod uses, counted from its own start. Images that were loaded are
	// pinned, and stay.
	unusedImageAge = 7 * 24 * time.Hour
)

// kubeletConfiguration returns kl's configuration of the kubelet, before the user's patch. seccomp says whether the kernel has it:
// without, containers with a profile could not start.
func kubeletConfiguration(c cluster.NodeConfig, reservedMilliCPUs int64, seccomp bool) (*kubeletv1beta1.KubeletConfiguration, error) {
	taints, err := parseTaints(c.Taints)
	if err != nil {
		return nil, err
	}
	k := &kubeletv1beta1.KubeletConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: kubeletv1beta1.SchemeGroupVersion.String(), Kind: "KubeletConfiguration"},
		Authentication: kubeletv1beta1.KubeletAuthentication{
			X509:      kubeletv1beta1.KubeletX509Authentication{ClientCAFile: cluster.NodeCAFile},
			Webhook:   kubeletv1beta1.KubeletWebhookAuthentication{Enabled: new(true)},
			Anonymous: kubeletv1beta1.KubeletAnonymousAuthentication{Enabled: new(false)},
		},
		Authorization:            kubeletv1beta1.KubeletAuthorization{Mode: kubeletv1beta1.KubeletAuthorizationModeWebhook},
		TLSMinVersion:            "VersionTLS12",
		TLSCipherSuites:          cluster.CipherSuiteNames(),
		EnableProfilingHandler:   new(false),
		RotateCertificates:       true,
		ServerTLSBootstrap:       true,
		CgroupDriver:             "cgroupfs",
		CgroupRoot:               boot.CgroupRoot,
		FailCgroupV1:             new(false),
		FailSwapOn:               new(false),
		ClusterDNS:               []string{c.DNS},
		ClusterDomain:            c.Domain,
		ResolverConfig:           new(boot.ResolvConf),
		ContainerRuntimeEndpoint: criEndpoint,
		ImageServiceEndpoint:     "unix://" + imageSocket,
		StaticPodPath:            staticPods,
		RegisterWithTaints:       taints,
		FeatureGates:             maps.Clone(c.FeatureGates),
		MakeIPTablesUtilChains:   new(false), // there is no iptables in a node
		HealthzPort:              new(int32(kubeletHealthPort)),
		// A kubelet that starts on a node that was Ready reports NotReady, and next after this time. What has not changed is
		// still reported every five minutes alone.
		NodeStatusUpdateFrequency: metav1.Duration{Duration: statusInterval},
		NodeStatusReportFrequency: metav1.Duration{Duration: statusReport},
		// The disk belongs to the host: how full it is says nothing about the node.
		EvictionHard: map[string]string{
			"memory.available": minFreeMemory, "nodefs.available": "0%", "nodefs.inodesFree": "0%",
			"imagefs.available": "0%", "imagefs.inodesFree": "0%",
		},
		ImageGCHighThresholdPercent: new(int32(fullPercent)),
		ImageMaximumGCAge:           metav1.Duration{Duration: unusedImageAge},
		PodPidsLimit:                new(int64(maxPodProcesses)),
		SeccompDefault:              new(seccomp),
	}
	if reservedMilliCPUs > 0 {
		k.SystemReserved = map[string]string{"cpu": fmt.Sprintf("%dm", reservedMilliCPUs)}
	}
	return k, nil
}

// decodeKubelet merges the user's patch (RFC 7386) into the configuration and decodes it strictly: an unknown field is an
// error, where the kubelet itself would only log a warning.
func decodeKubelet(k *kubeletv1beta1.KubeletConfiguration, patch map[string]any) (*kubeletconfig.KubeletConfiguration, error) {
	data, err := json.Marshal(k)
	if err != nil {
		return nil, err
	}
	if len(patch) > 0 {
		patchData, err := json.Marshal(patch)
		if err != nil {
			return nil, err
		}
		if data, err = jsonpatch.MergePatch(data, patchData); err != nil {
			return nil, fmt.Errorf("merge patch: %w", err)
		}
	}
	_, codecs, err := kubeletscheme.NewSchemeAndCodecs(serializer.EnableStrict)
	if err != nil {
		return nil, err
	}
	obj, err := runtime.Decode(codecs.UniversalDecoder(), data)
	if err != nil {
		return nil, err
	}
	config, ok := obj.(*kubeletconfig.KubeletConfiguration)
	if !ok {
		return nil, fmt.Errorf("unexpected %T", obj)
	}
	return config, nil
}

// nodeLabels splits the wanted labels into those that a kubelet may set on its own node, in the format of --node-labels, and
// those that only an administrator may set (node-role.kubernetes.io/… and others in Kubernetes' own namespaces).
func nodeLabels(labels map[string]string) (flag string, refused []string) {
	var own []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		ns, _, qualified := strings.Cut(key, "/")
		if !qualified {
			ns = ""
		}
		reserved := ns == "kubernetes.io" || strings.HasSuffix(ns, ".kubernetes.io") ||
			ns == "k8s.io" || strings.HasSuffix(ns, ".k8s.io")
		if reserved && !kubeletapis.IsKubeletLabel(key) {
			refused = append(refused, key)
			continue
		}
		own = append(own, key+"="+labels[key])
	}
	return strings.Join(own, ","), refused
}

// applyKubeletArgs sets flags of the kubelet on top of the configuration, as its command line does. Flags for the node's
// name, files and credentials are kl's and refused.
func applyKubeletArgs(flags *options.KubeletFlags, config *kubeletconfig.KubeletConfiguration, args map[string]string) error {
	fs := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	gates := maps.Clone(config.FeatureGates)
	flags.AddFlags(fs)
	options.AddKubeletConfigFlags(fs, config)
	options.AddGlobalFlags(fs)
	err := setFlags(fs, args, "config", "config-dir", "kubeconfig", "bootstrap-kubeconfig", "cert-dir", "hostname-override")
	for gate, on := range gates { // the flag replaces the map
		if _, ok := config.FeatureGates[gate]; !ok {
			config.FeatureGates[gate] = on
		}
	}
	return err
}

// setFlags sets the flags in order of name. Those in own are refused.
func setFlags(fs *pflag.FlagSet, args map[string]string, own ...string) error {
	names := slices.Collect(maps.Keys(args))
	sort.Strings(names)
	var errs []error
	for _, name := range names {
		if slices.Contains(own, name) {
			errs = append(errs, fmt.Errorf("flag --%s is set by kl", name))
			continue
		}
		if err := fs.Set(name, args[name]); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
