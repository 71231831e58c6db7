package node

import (
	"strings"
	"testing"
	"time"

	cadvisorapi "github.com/google/cadvisor/lib/model"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/cmd/kubelet/app/options"
	kubeletconfig "k8s.io/kubernetes/pkg/kubelet/apis/config"
	"k8s.io/kubernetes/pkg/kubelet/cadvisor"

	"github.com/klkube/kl/cluster"
)

func decodeTest(t *testing.T, patch map[string]any) (*kubeletconfig.KubeletConfiguration, error) {
	t.Helper()
	c := testConfig()
	c.Taints = []string{"a=b:NoSchedule"}
	c.FeatureGates = map[string]bool{"NodeLogQuery": true}
	k, err := kubeletConfiguration(c, 500, true)
	if err != nil {
		t.Fatal(err)
	}
	return decodeKubelet(k, patch)
}

// essentials are the settings that a node depends on.
type essentials struct {
	CgroupRoot, CgroupDriver, ResolvConf, Endpoint, ClientCA string
	FailCgroupV1, FailSwapOn, Rotate, ServerBootstrap        bool
	Anonymous, Webhook, IPTables                             bool
	DNS                                                      []string
	Domain                                                   string
	Taints                                                   []corev1.Taint
	Eviction, Reserved                                       map[string]string
	Gates                                                    map[string]bool
	ImageGC, MaxPods                                         int32
	ImageAge                                                 time.Duration
	Pids                                                     int64
	Seccomp                                                  bool
	TLS                                                      string
	Suites                                                   []string
	Profiling                                                bool
}

func essentialsOf(k *kubeletconfig.KubeletConfiguration) essentials {
	return essentials{
		CgroupRoot: k.CgroupRoot, CgroupDriver: k.CgroupDriver, ResolvConf: k.ResolverConfig, Endpoint: k.ContainerRuntimeEndpoint,
		ClientCA: k.Authentication.X509.ClientCAFile, FailCgroupV1: k.FailCgroupV1, FailSwapOn: k.FailSwapOn,
		Rotate: k.RotateCertificates, ServerBootstrap: k.ServerTLSBootstrap, Anonymous: k.Authentication.Anonymous.Enabled,
		Webhook: k.Authentication.Webhook.Enabled, IPTables: k.MakeIPTablesUtilChains, DNS: k.ClusterDNS, Domain: k.ClusterDomain,
		Taints: k.RegisterWithTaints, Eviction: k.EvictionHard, Reserved: k.SystemReserved, Gates: k.FeatureGates,
		ImageGC: k.ImageGCHighThresholdPercent, ImageAge: k.ImageMaximumGCAge.Duration, MaxPods: k.MaxPods, Pids: k.PodPidsLimit, Seccomp: k.SeccompDefault,
		TLS: k.TLSMinVersion, Suites: k.TLSCipherSuites, Profiling: k.EnableProfilingHandler,
	}
}

func TestKubeletConfiguration(t *testing.T) {
	want := essentials{
		CgroupRoot: "/kubelet", CgroupDriver: "cgroupfs", ResolvConf: "/run/kl/resolv.conf",
		Endpoint: "unix:///run/containerd/containerd.sock", ClientCA: "/kl/node/ca.crt", Rotate: true, ServerBootstrap: true,
		Webhook: true, DNS: []string{"10.96.0.10"}, Domain: "cluster.local",
		Taints: []corev1.Taint{{Key: "a", Value: "b", Effect: corev1.TaintEffectNoSchedule}},
		Eviction: map[string]string{
			"memory.available": "50Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%",
			"imagefs.available": "0%", "imagefs.inodesFree": "0%",
		},
		Reserved: map[string]string{"cpu": "500m"}, Gates: map[string]bool{"NodeLogQuery": true},
		ImageGC: 100, ImageAge: 168 * time.Hour, MaxPods: 110, Pids: 4096, Seccomp: true, TLS: "VersionTLS12", Suites: cluster.CipherSuiteNames(),
	}
	for _, tt := range []struct {
		name   string
		patch  map[string]any
		change func(*essentials)
	}{
		{"kl's own", nil, func(*essentials) {}},
		{"a number replaced", map[string]any{"maxPods": 20}, func(e *essentials) { e.MaxPods = 20 }},
		{"a map merged", map[string]any{"evictionHard": map[string]any{"memory.available": "1Gi"}},
			func(e *essentials) { e.Eviction["memory.available"] = "1Gi" }},
		{"a list replaced", map[string]any{"clusterDNS": []any{"10.0.0.1"}}, func(e *essentials) { e.DNS = []string{"10.0.0.1"} }},
		{"an entry removed", map[string]any{"systemReserved": nil}, func(e *essentials) { e.Reserved = nil }},
		{"a map of a new entry", map[string]any{"systemReserved": map[string]any{"memory": "1Gi"}},
			func(e *essentials) { e.Reserved = map[string]string{"cpu": "500m", "memory": "1Gi"} }},
		{"a map within a map", map[string]any{"authentication": map[string]any{"anonymous": map[string]any{"enabled": true}}},
			func(e *essentials) { e.Anonymous = true }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decodeTest(t, tt.patch)
			if err != nil {
				t.Fatal(err)
			}
			expected := want
			expected.Eviction = map[string]string{}
			for k, v := range want.Eviction {
				expected.Eviction[k] = v
			}
			tt.change(&expected)
			if diff := cmp.Diff(expected, essentialsOf(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKubeletPatchIsStrict(t *testing.T) {
	for name, patch := range map[string]map[string]any{
		"unknown field": {"maxPodz": 20},
		"wrong type":    {"maxPods": "many"},
	} {
		if _, err := decodeTest(t, patch); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestKubeletArgs(t *testing.T) {
	config, err := decodeTest(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	flags := options.NewKubeletFlags()
	err = applyKubeletArgs(flags, config, map[string]string{
		"node-labels": "disk=ssd,zone=a", "max-pods": "30", "feature-gates": "MemoryQoS=true", "v": "4",
	})
	if err != nil {
		t.Fatal(err)
	}
	if config.MaxPods != 30 || config.Logging.Verbosity != 4 {
		t.Errorf("max pods %d, verbosity %d", config.MaxPods, config.Logging.Verbosity)
	}
	if diff := cmp.Diff(map[string]string{"disk": "ssd", "zone": "a"}, flags.NodeLabels); diff != "" {
		t.Error(diff)
	}
	want := map[string]bool{"MemoryQoS": true, "NodeLogQuery": true}
	if diff := cmp.Diff(want, config.FeatureGates); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"no-such-flag", "kubeconfig", "hostname-override"} {
		err := applyKubeletArgs(options.NewKubeletFlags(), config, map[string]string{bad: "x"})
		if err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("--%s: err = %v", bad, err)
		}
	}
}

func TestNodeLabels(t *testing.T) {
	flag, refused := nodeLabels(map[string]string{
		"disk": "ssd", "example.com/tier": "web", "topology.kubernetes.io/zone": "a", "node.kubernetes.io/instance-type": "big",
		"node-role.kubernetes.io/worker": "", "kubernetes.io/anything": "x", "some.k8s.io/thing": "y",
	})
	want := "disk=ssd,example.com/tier=web,node.kubernetes.io/instance-type=big,topology.kubernetes.io/zone=a"
	if flag != want {
		t.Errorf("labels = %q, want %q", flag, want)
	}
	if diff := cmp.Diff([]string{"kubernetes.io/anything", "node-role.kubernetes.io/worker", "some.k8s.io/thing"}, refused); diff != "" {
		t.Error(diff)
	}
}

func TestCapacity(t *testing.T) {
	for _, tt := range []struct {
		name             string
		milli, memory    int64
		cores            int
		capacity         uint64
		reservedMilliCPU int64
	}{
		{"no limit", 0, 0, 8, 16 << 30, 0},
		{"whole cores", 2000, 1 << 30, 2, 1 << 30, 0},
		{"part of a core", 1500, 0, 2, 16 << 30, 500},
		{"more than there is", 64000, 1 << 40, 8, 16 << 30, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCapacity(tt.milli, tt.memory)
			got := c.limit(cadvisorapi.MachineInfo{NumCores: 8, MemoryCapacity: 16 << 30})
			if got.NumCores != tt.cores || got.MemoryCapacity != tt.capacity || c.reserved != tt.reservedMilliCPU {
				t.Errorf("%d cores, %d bytes, %dm reserved", got.NumCores, got.MemoryCapacity, c.reserved)
			}
		})
	}
}

func TestProxyFlags(t *testing.T) {
	c := testConfig()
	c.FeatureGates = map[string]bool{"B": false, "A": true}
	want := map[string]string{
		"proxy-mode": "nftables", "kubeconfig": "/var/lib/kubelet/kubeconfig", "hostname-override": "n1",
		"cluster-cidr": "10.244.0.0/16", "detect-local-mode": "ClusterCIDR", "conntrack-max-per-core": "0",
		"feature-gates": "A=true,B=false",
	}
	if diff := cmp.Diff(want, proxyFlags(c)); diff != "" {
		t.Error(diff)
	}
}

// fakeMachine is a machine of 8 cores and 16 GiB.
type fakeMachine struct{ cadvisor.Interface }

func (fakeMachine) MachineInfo(klog.Logger) (*cadvisorapi.MachineInfo, error) {
	return &cadvisorapi.MachineInfo{NumCores: 8, MemoryCapacity: 16 << 30}, nil
}

func (fakeMachine) ContainerInfoV2(string, cadvisorapi.RequestOptions) (map[string]cadvisorapi.ContainerInfo, error) {
	spec := cadvisorapi.ContainerSpec{HasMemory: true, Memory: cadvisorapi.MemorySpec{Limit: 16 << 30}}
	return map[string]cadvisorapi.ContainerInfo{"/": {Spec: spec}, "/kubelet": {Spec: spec}}, nil
}

func TestLimitedMachine(t *testing.T) {
	m := limitedMachine{Interface: fakeMachine{}, capacity: newCapacity(2000, 1<<30)}
	machine, err := m.MachineInfo(klog.Background())
	if err != nil || machine.NumCores != 2 || machine.MemoryCapacity != 1<<30 {
		t.Errorf("machine = %+v, err %v", machine, err)
	}
	infos, err := m.ContainerInfoV2("/", cadvisorapi.RequestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := [2]uint64{infos["/"].Spec.Memory.Limit, infos["/kubelet"].Spec.Memory.Limit}
	if want := [2]uint64{1 << 30, 16 << 30}; got != want {
		t.Errorf("limits of / and /kubelet = %d, want %d", got, want)
	}
}
