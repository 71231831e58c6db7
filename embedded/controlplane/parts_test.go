package controlplane

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster"
)

func TestStatus(t *testing.T) {
	b := newStatus(cluster.Status{Phase: cluster.PhaseStarting})
	report := b.reportComponent(cluster.Home("/h").Cluster("c"))
	report(cluster.ComponentStatus{Name: cluster.Etcd, State: cluster.ComponentServing})
	if s := b.Load(); s.Phase != cluster.PhaseStarting {
		t.Errorf("phase %s before the administrator's rights are known, want Starting", s.Phase)
	}
	report(cluster.ComponentStatus{Name: cluster.Etcd, State: cluster.ComponentStarting})
	b.edit(func(s *cluster.Status) { s.Ready.API = true })
	phases := []struct {
		name  cluster.ComponentName
		state cluster.ComponentState
		want  cluster.Phase
	}{
		{cluster.Etcd, cluster.ComponentServing, cluster.PhaseReady},
		{cluster.KubeAPIServer, cluster.ComponentStarting, cluster.PhaseDegraded},
		{cluster.KubeAPIServer, cluster.ComponentServing, cluster.PhaseReady},
	}
	for _, p := range phases {
		_, changed := b.Get()
		report(cluster.ComponentStatus{Name: p.name, State: p.state})
		select {
		case <-changed:
		default:
			t.Errorf("%s %s: watchers were not told", p.name, p.state)
		}
		if s := b.Load(); s.Phase != p.want {
			t.Errorf("%s %s: phase %s, want %s", p.name, p.state, s.Phase, p.want)
		}
	}
	before, changed := b.Get()
	report(cluster.ComponentStatus{Name: cluster.KubeAPIServer, State: cluster.ComponentServing, LogFile: "ignored"})
	select {
	case <-changed:
		t.Error("watchers were told of no change")
	default:
	}
	b.edit(func(s *cluster.Status) { s.Phase = cluster.PhaseStopping })
	report(cluster.ComponentStatus{Name: cluster.Etcd, State: cluster.ComponentStopped})
	if s := b.Load(); s.Phase != cluster.PhaseStopping {
		t.Errorf("phase %s, want Stopping until the end", s.Phase)
	}
	if before.Components[0].State != cluster.ComponentServing {
		t.Error("a status that was read before has changed")
	}
}

func TestNodeStatuses(t *testing.T) {
	ready := func(name string, status corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.NodeSpec{PodCIDRs: []string{"10.244.3.0/24"}},
			Status: corev1.NodeStatus{
				Addresses:  []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: "172.18.0.2"}},
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status, Reason: "R", Message: "m"}},
			},
		}
	}
	fresh := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n3"}}
	tainted := ready("n4", corev1.ConditionTrue)
	tainted.Spec.Taints = []corev1.Taint{{Key: "other"}, {Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}}
	got := nodeStatuses([]*corev1.Node{ready("n10", corev1.ConditionTrue), ready("n2", corev1.ConditionUnknown), fresh, tainted}, []string{"n1", "n10"})
	want := []cluster.NodeStatus{
		{Name: "n1", Connected: true},
		{Name: "n2", IP: "172.18.0.2", Registered: true, Reason: "R: m"},
		{Name: "n3", Registered: true, Reason: "kubelet has not reported yet"},
		{Name: "n4", IP: "172.18.0.2", Registered: true, Reason: "the node controller has yet to see that it is ready"},
		{Name: "n10", IP: "172.18.0.2", Connected: true, Ready: true, Registered: true},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("nodeStatuses (-want +got):\n%s", d)
	}
	played := ready("sim-1", corev1.ConditionTrue)
	played.Labels = map[string]string{cluster.SimulatedLabel: cluster.SimulatedValue}
	unplayed := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "sim-2", Labels: played.Labels}}
	nodes, simulated := split([]any{played, fresh, unplayed})
	if len(nodes) != 1 || nodes[0] != fresh || simulated != (cluster.SimulatedStatus{Nodes: 2, Ready: 1}) {
		t.Errorf("split gives %v and %+v", nodes, simulated)
	}
	// The Node claims an address and ranges; the driver assigned another address, and ranges of others do not count.
	prefixes := []netip.Prefix{netip.MustParsePrefix("172.18.0.7/32"), netip.MustParsePrefix("10.244.3.0/24")}
	n2 := ready("n2", corev1.ConditionTrue)
	n2.Spec.PodCIDRs = append(n2.Spec.PodCIDRs, "10.244.0.0/16", "172.18.0.3/32", "0.0.0.0/0")
	owned := ownedPrefixes(n2, netip.MustParseAddr("172.18.0.7"), netip.MustParsePrefix("10.244.0.0/16"))
	if d := cmp.Diff(prefixes, owned, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("ownedPrefixes (-want +got):\n%s", d)
	}
}

func TestDNSEndpoints(t *testing.T) {
	port, name, yes, no := int32(53), "dns-tcp", true, false
	slice := func(port *int32, endpoints ...discoveryv1.Endpoint) any {
		return &discoveryv1.EndpointSlice{Ports: []discoveryv1.EndpointPort{{Name: &name, Port: port}}, Endpoints: endpoints}
	}
	endpoint := func(address string, ready *bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ready}}
	}
	got := dnsEndpoints([]any{
		slice(&port, endpoint("10.244.0.2", &yes), endpoint("10.244.0.3", &no), endpoint("10.244.0.4", nil)),
		slice(nil, endpoint("10.244.0.5", &yes)),
	})
	if d := cmp.Diff([]string{"10.244.0.2:53", "10.244.0.4:53"}, got); d != "" {
		t.Errorf("dnsEndpoints (-want +got):\n%s", d)
	}
}

// TestExplainCoreDNS names what a user put into the API that keeps DNS from answering.
func TestExplainCoreDNS(t *testing.T) {
	pod := func(s corev1.PodStatus) []corev1.Pod {
		return []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "coredns-1"}, Status: s}}
	}
	container := func(c corev1.ContainerStatus) []corev1.Pod {
		return pod(corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{c}})
	}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: "starting\nCorefile:3: Unknown directive 'nonsense'\n"}}
	one, none := int32(1), int32(0)
	for _, tt := range []struct {
		name     string
		replicas *int32
		refusal  string
		pods     []corev1.Pod
		want     string
	}{
		{"scaled to 0", &none, "", nil, "scaled to 0"},
		{"nothing yet", &one, "", nil, ""},
		{"no pod may be made", &one, `failed calling webhook "w.test"`, nil, `FailedCreate: failed calling webhook "w.test"`},
		{"full", &one, "", pod(corev1.PodStatus{Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available: untolerated taint"},
		}}), "pod coredns-1: Unschedulable: 0/1 nodes are available: untolerated taint"},
		{"starting", &one, "", container(corev1.ContainerStatus{State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"},
		}}), ""},
		{"a mistake in the Corefile", &one, "", container(corev1.ContainerStatus{
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}},
			LastTerminationState: ended,
		}), "pod coredns-1: CrashLoopBackOff: Corefile:3: Unknown directive 'nonsense'"},
		{"between two attempts", &one, "", container(corev1.ContainerStatus{LastTerminationState: ended}),
			"pod coredns-1: exits: Corefile:3: Unknown directive 'nonsense'"},
	} {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: coreDNS}, Spec: appsv1.DeploymentSpec{Replicas: tt.replicas}}
		if tt.refusal != "" {
			d.Status.Conditions = []appsv1.DeploymentCondition{
				{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: tt.refusal},
			}
		}
		if got := explainCoreDNS(d, tt.pods); !strings.HasSuffix(got, tt.want) || (tt.want == "") != (got == "") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestSchedulerConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s.yaml")
	given := "kind: KubeSchedulerConfiguration\nleaderElection: {leaderElect: true}\nclientConnection: {qps: 5, kubeconfig: /x}\nparallelism: 3\n"
	if err := os.WriteFile(file, []byte(given), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, g := range []string{given, file} {
		out, err := schedulerConfig(g, "/kubeconfig")
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]any{}
		if err := yaml.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"kind": "KubeSchedulerConfiguration", "parallelism": 3.0,
			"leaderElection":   map[string]any{"leaderElect": false},
			"clientConnection": map[string]any{"qps": 5.0, "burst": 2000.0, "kubeconfig": "/kubeconfig"},
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("schedulerConfig (-want +got):\n%s", d)
		}
	}
	if _, err := schedulerConfig("kind: Pod", ""); err == nil || !strings.Contains(err.Error(), "Pod") {
		t.Errorf("schedulerConfig of a Pod = %v", err)
	}
}

func TestArgs(t *testing.T) {
	spec := cluster.Spec{Kubernetes: cluster.Kubernetes{ExtraArgs: map[string]map[string]string{"c": {"b": "2", "z": "", "v": "4"}, "other": {"a": "9"}}}}
	got := args{"a": "1", "b": "1"}.with(spec, "c").list()
	if d := cmp.Diff([]string{"--a=1", "--b=2", "--z="}, got); d != "" {
		t.Errorf("args (-want +got):\n%s", d)
	}
}

// TestAuthentication: the user's flags about authentication exclude kl's file, and never open what it closes.
func TestAuthentication(t *testing.T) {
	f := files{dir: "/p"}
	for _, tt := range []struct {
		name        string
		given, want args
	}{
		{"kl's", args{"a": "1"}, args{"a": "1", "authentication-config": "/p/authentication.yaml"}},
		{"OpenID Connect", args{"oidc-issuer-url": "https://x"}, args{"oidc-issuer-url": "https://x", "anonymous-auth": "false"}},
		{"anonymous", args{"anonymous-auth": "true"}, args{"anonymous-auth": "true"}},
		{"a file", args{"authentication-config": "/x"}, args{"authentication-config": "/x"}},
	} {
		if d := cmp.Diff(tt.want, authentication(tt.given, f)); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
}

func TestParseRssAnon(t *testing.T) {
	for in, want := range map[string]int64{
		"VmRSS:\t  10 kB\nRssAnon:\t    1234 kB\nRssFile:\t 5 kB\n": 1234 << 10, "VmRSS: 1 kB\n": 0, "RssAnon: x kB\n": 0,
	} {
		if got := parseRssAnon([]byte(in)); got != want {
			t.Errorf("parseRssAnon(%q) = %d, want %d", in, got, want)
		}
	}
	if anonymousMemory() <= 0 {
		t.Error("this process has no memory")
	}
}

func TestLeftBehind(t *testing.T) {
	const mb = 1 << 20
	floor := heap{resident: 200 * mb, allocated: 1000 * mb}
	for _, tt := range []struct {
		name     string
		resident uint64 // now
		rate     uint64 // allocated in ten seconds
		want     bool
	}{
		{"nothing happened", 200 * mb, 0, false},
		{"little growth", 240 * mb, mb, false},
		{"a burst that is over", 600 * mb, mb, true},
		{"a burst that goes on", 600 * mb, 300 * mb, false},
	} {
		before := heap{resident: tt.resident, allocated: 5000 * mb}
		now := heap{resident: tt.resident, allocated: before.allocated + tt.rate}
		if got := leftBehind(floor, before, now, 10*time.Second); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
	if h := readHeap(); h.resident == 0 || h.allocated == 0 {
		t.Errorf("the heap of this process is %+v", h)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	unlock, err := lock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(path); !errors.Is(err, ErrRunning) {
		t.Errorf("second lock = %v, want ErrRunning", err)
	}
	unlock()
	again, err := lock(path)
	if err != nil {
		t.Fatalf("lock after unlock: %v", err)
	}
	again()
}
