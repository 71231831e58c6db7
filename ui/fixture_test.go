package ui

import (
	"fmt"
	"io"
	"math"
	"testing"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/observe"
	"github.com/klkube/kl/cluster/observe/observetest"
	"github.com/klkube/kl/cluster/policy"
	"github.com/klkube/kl/ui/kit"
)

// fixtureNow is the time of all fixtures.
func fixtureNow() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }

func before(d time.Duration) metav1.Time { return metav1.NewTime(fixtureNow().Add(-d)) }

// fill sorts objects into a snapshot by their type.
func fill(s *observe.Snapshot, objects ...runtime.Object) {
	for _, o := range objects {
		switch o := o.(type) {
		case *corev1.Node:
			s.Nodes = append(s.Nodes, o)
		case *corev1.Namespace:
			s.Namespaces = append(s.Namespaces, o)
		case *corev1.Pod:
			s.Pods = append(s.Pods, o)
		case *corev1.Event:
			s.Events = append(s.Events, o)
		case *appsv1.Deployment:
			s.Deployments = append(s.Deployments, o)
		case *appsv1.ReplicaSet:
			s.ReplicaSets = append(s.ReplicaSets, o)
		case *networkingv1.NetworkPolicy:
			s.Policies = append(s.Policies, o)
		case *autoscalingv2.HorizontalPodAutoscaler:
			s.Autoscalers = append(s.Autoscalers, o)
		}
	}
}

// fixture is a kl cluster with a complete rollout, one under way and a stuck one, and a policy that has denied a
// connection.
func fixture() observe.Snapshot {
	s := observe.Snapshot{Taken: fixtureNow(), Name: "dev", Server: "https://127.0.0.1:6443", Version: "v1.36.3", Conn: observe.Connection{State: observe.Live}}
	for _, n := range []string{"default", "kube-system", "shop"} {
		fill(&s, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n, Labels: map[string]string{"kubernetes.io/metadata.name": n}}})
	}
	for i := range 2 {
		fill(&s, observetest.Node(fmt.Sprintf("node-%04d", i), fixtureNow().Add(-3*time.Hour)))
	}
	lost := observetest.Node("node-0002", fixtureNow().Add(-3*time.Hour))
	lost.Status.Conditions[3] = corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, LastTransitionTime: before(2 * time.Minute), LastHeartbeatTime: before(3 * time.Minute)}
	fill(&s, lost)
	fill(&s, observetest.Deployment("default", "api", 3, 1, 2, 0, fixtureNow().Add(-2*time.Hour))...)
	fill(&s, rolling(&s)...)
	fill(&s, stuck()...)
	fill(&s, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "only-api", CreationTimestamp: before(time.Hour)},
		Spec: networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "cart"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "default"}},
				PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "api"}}}}, Ports: []networkingv1.NetworkPolicyPort{{Port: &intstr.IntOrString{IntVal: 80}}}}}}})
	fill(&s, autoscaler())
	s.Usage = usage(&s)
	s.Traffic, s.Activity = traffic(&s), activity()
	s.Plane = &observe.Plane{Verbs: []observe.VerbStat{{Verb: "GET", Rate: 12.5, P50: 0.002, P99: 0.031}, {Verb: "WATCH", Rate: 0.5, P50: math.NaN(), P99: math.NaN()}, {Verb: "PATCH", Rate: 0.2, Errors: 0.1, P50: 0.006, P99: 1.2}},
		RequestsPerSecond: []float64{10, 12, 9, 30, 22, 13}, ScheduledHistory: []float64{0, 0, 2, 7, 1, 0.3}, FsyncHistory: []float64{0.002, -1, 0.009, 0.003, 0.004}, Inflight: 2, EtcdBytes: 3 << 20, FsyncP99: 0.004, SchedulerPending: 1, ScheduledPerSec: 0.3, SchedulerP99: math.NaN()}
	s.Verdicts = &observe.Verdicts{Denials: []policy.Denial{{Seq: 1, Time: fixtureNow().Add(-2 * time.Second), Node: "node-0001", Direction: policy.Ingress, From: "shop/pay-5f00001-00000",
		To: "shop/cart-5f00001-00000", Protocol: corev1.ProtocolTCP, Port: 80, Policies: []string{"shop/only-api"}, Packets: 3}},
		Counters: map[string]policy.Counters{"node-0001": {Policies: []policy.Counter{{Policy: "shop/only-api", Allowed: 41, Denied: 3}},
			Pairs: []policy.PairCounter{{Direction: policy.Ingress, From: "shop/pay-5f00001-00000", To: "shop/cart-5f00001-00000", Protocol: corev1.ProtocolTCP, Port: 80, Denied: 3}}}}}
	s.KL = &cluster.Status{Cluster: "dev", Phase: cluster.PhaseReady, Started: fixtureNow().Add(-3 * time.Hour), Components: []cluster.ComponentStatus{
		{Name: "etcd", State: cluster.ComponentServing, Ready: 0.11}, {Name: "kube-apiserver", State: cluster.ComponentServing, Began: 0.11, Ready: 2.4},
		{Name: "kube-controller-manager", State: cluster.ComponentServing, Began: 2.4, Ready: 3.0}, {Name: "kube-scheduler", State: cluster.ComponentRestarting, Began: 2.4, Ready: 2.8, Error: "lost its lease"}}}
	s.Disk = &observe.Disk{AuditLog: "/audit.log", Secrets: observe.Secrets{Provider: cluster.EncryptionSecretbox, Objects: 3}, Certificates: []observe.Certificate{{Name: "apiserver", Expires: fixtureNow().Add(20 * 24 * time.Hour)}}}
	fill(&s, &corev1.Event{InvolvedObject: corev1.ObjectReference{Namespace: "shop", Name: "pay-5f00001-00000", UID: "p-shop-pay-5f00001-0"}, Type: corev1.EventTypeWarning, Reason: "BackOff",
		Message: "Back-off restarting failed container main in pod pay-5f00001-00000", LastTimestamp: before(90 * time.Second), Count: 7})
	return s
}

// rolling is shop/cart, half-way from revision 1 to 2.
func rolling(*observe.Snapshot) []runtime.Object {
	out := observetest.Deployment("shop", "cart", 2, 1, 2, 10, fixtureNow().Add(-time.Hour))
	d := out[0].(*appsv1.Deployment)
	four := int32(4)
	d.Spec.Replicas, d.Spec.Template = &four, observetest.Template("cart", "example.test/cart:v2")
	d.Annotations["deployment.kubernetes.io/revision"] = "2"
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 4, UpdatedReplicas: 2, ReadyReplicas: 3, AvailableReplicas: 3}
	rs := observetest.ReplicaSet(d, 2, 2)
	for i := range 2 {
		p := observetest.Pod(rs, i, "node-0001", fmt.Sprintf("10.64.1.%d", i+1))
		p.CreationTimestamp = before(20 * time.Second)
		if i == 1 {
			p.Status.ContainerStatuses[0].Ready, p.Status.Conditions[0].Status, p.Status.Conditions[0].LastTransitionTime = false, corev1.ConditionFalse, before(10*time.Second)
		}
		out = append(out, p)
	}
	return append(out, rs)
}

// stuck is shop/pay, whose only pod keeps crashing.
func stuck() []runtime.Object {
	out := observetest.Deployment("shop", "pay", 1, 1, 1, 30, fixtureNow().Add(-10*time.Minute))
	out[0].(*appsv1.Deployment).Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 1, UpdatedReplicas: 1}
	c := &out[2].(*corev1.Pod).Status.ContainerStatuses[0]
	c.Ready, c.RestartCount = false, 7
	c.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	c.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1}
	return out
}

func autoscaler() *autoscalingv2.HorizontalPodAutoscaler {
	eighty, now := int32(80), int32(93)
	h := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "api", UID: "hpa"}}
	h.Spec = autoscalingv2.HorizontalPodAutoscalerSpec{ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "api"}, MaxReplicas: 5,
		Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: "cpu", Target: autoscalingv2.MetricTarget{AverageUtilization: &eighty}}}}}
	h.Status = autoscalingv2.HorizontalPodAutoscalerStatus{CurrentReplicas: 3, DesiredReplicas: 4, Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{
		{Type: autoscalingv2.AbleToScale, Status: corev1.ConditionTrue, Message: "the HPA controller was able to update the target scale to 4"},
		{Type: autoscalingv2.ScalingActive, Status: corev1.ConditionTrue, Message: "the HPA was able to successfully calculate a replica count from cpu resource utilization"}},
		CurrentMetrics: []autoscalingv2.MetricStatus{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricStatus{Name: "cpu", Current: autoscalingv2.MetricValueStatus{AverageUtilization: &now}}}}}
	return h
}

// usage gives every pod and node ten minutes of history.
func usage(s *observe.Snapshot) *observe.Usage {
	u := &observe.Usage{Taken: fixtureNow(), Period: 15 * time.Second, Nodes: map[string]observe.Series{}, Pods: map[string]observe.Series{}}
	wave := func(base int) observe.Series {
		var out observe.Series
		for i := range 40 {
			v := float64(base) * (1 + 0.5*math.Sin(float64(i)/5))
			out = append(out, observe.Sample{MilliCPU: int32(v), KiB: uint32(v) << 8})
		}
		return out
	}
	for i, n := range s.Nodes {
		u.Nodes[n.Name] = wave(2000 + 900*i)
	}
	for i, p := range s.Pods {
		u.Pods[p.Namespace+"/"+p.Name] = wave(20 + i*7%90)
	}
	return u
}

// traffic gives every pod and node ten minutes of history.
func traffic(s *observe.Snapshot) *observe.Traffic {
	t := &observe.Traffic{Period: 15 * time.Second, Nodes: map[string][]observe.Rate{}, Pods: map[string][]observe.Rate{}}
	wave := func(base float64) (out []observe.Rate) {
		for i := range 40 {
			v := base * (1 + 0.8*math.Sin(float64(i)/4))
			out = append(out, observe.Rate{In: uint32(v), Out: uint32(v / 3)})
		}
		return out
	}
	for i, n := range s.Nodes {
		t.Nodes[n.Name] = wave(float64(int(3) << (20 - i)))
	}
	for i, p := range s.Pods {
		t.Pods[p.Namespace+"/"+p.Name] = wave(float64(1000 + 700*i))
	}
	return t
}

func activity() *observe.Activity {
	a := &observe.Activity{Period: 15 * time.Second, Restarts: map[string][]int32{}, OnNode: map[string][]int32{"node-0001": {3, 3, 4, 5, 5, 7}}, Scalers: map[string][]observe.ScalerSample{}}
	for i := range int32(40) {
		a.Restarts["shop/pay-5f00001-00000"] = append(a.Restarts["shop/pay-5f00001-00000"], i/6)
		a.Scalers["default/api"] = append(a.Scalers["default/api"], observe.ScalerSample{Current: 1 + i/16, Desired: 1 + (i+4)/14, Load: 60 + i*3/2})
	}
	return a
}

// states are the snapshots that every screen is drawn with.
func states() map[string]func() *observe.Snapshot {
	return map[string]func() *observe.Snapshot{
		"normal": func() *observe.Snapshot { return observe.NewSnapshot(fixture()) },
		"empty": func() *observe.Snapshot {
			return observe.NewSnapshot(observe.Snapshot{Name: "dev", Version: "v1.36.3", Conn: observe.Connection{State: observe.Live}, Usage: &observe.Usage{}})
		},
		"loading": func() *observe.Snapshot {
			return observe.NewSnapshot(observe.Snapshot{Name: "dev", Version: "v1.36.3", Conn: observe.Connection{State: observe.Live},
				Loading: []string{"nodes", "pods", "deployments", "statefulsets", "daemonsets", "events", "networkpolicies", "horizontalpodautoscalers"}})
		},
		"error": func() *observe.Snapshot {
			return observe.NewSnapshot(observe.Snapshot{Name: "dev", Server: "https://10.0.0.1:6443", Loading: []string{"nodes", "pods", "deployments", "statefulsets", "daemonsets", "events", "networkpolicies"},
				Conn: observe.Connection{Err: "connect: connection refused", Retry: fixtureNow().Add(3 * time.Second)}})
		},
		"stale": func() *observe.Snapshot {
			s := fixture()
			s.Conn = observe.Connection{State: observe.Lost, Since: fixtureNow().Add(-42 * time.Second), Err: "no answer within 3 s", Retry: fixtureNow().Add(2 * time.Second)}
			return observe.NewSnapshot(s)
		},
		"huge": func() *observe.Snapshot {
			s := observe.Snapshot{Name: "a-cluster-with-a-very-long-name-that-somebody-chose", Version: "v1.36.3", Conn: observe.Connection{State: observe.Live}}
			fill(&s, observetest.Synthetic(1000, 5000, fixtureNow())...)
			s.Usage = usage(&s)
			return observe.NewSnapshot(s)
		},
		"wide": func() *observe.Snapshot {
			s := fixture()
			s.Name = "開発クラスタ"
			s.Nodes[0].Status.NodeInfo.OSImage = "نظام التشغيل\x1b[31m \u202etxt.exe"
			s.Deployments[1].Spec.Template.Spec.Containers[0].Image = "例え.テスト/カート:版二"
			s.Events[0].Message = "容器が起動できません 🚀👩‍👩‍👧 לא ניתן להפעיל\tline\nbreak\x07"
			s.Pods[6].Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: "CreateContainerError", Message: "設定が見つかりません: \u202eevil"}
			s.Namespaces = append(s.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "空間", UID: types.UID("w")}})
			return observe.NewSnapshot(s)
		},
	}
}

func testStyles(profile termenv.Profile, dark bool) *kit.Styles {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(profile)
	r.SetHasDarkBackground(dark)
	return kit.NewStyles(r)
}

// testModel is a model without a session that shows a main screen of a snapshot.
func testModel(t testing.TB, screen string, snap *observe.Snapshot, a kit.Area, st *kit.Styles) *Model {
	t.Helper()
	m := newModel(Options{Screen: screen, Clock: fixtureNow}, st)
	m.size, m.state.snap = a, snap
	if audit, ok := m.main[6].(*audit); ok && len(snap.Pods) > 0 {
		for i := range 60 {
			audit.list = append(audit.list, observe.AuditEntry{Time: fixtureNow().Add(time.Duration(i-60) * time.Second), User: "kubernetes-admin", Verb: []string{"get", "patch", "delete"}[i%3],
				Resource: "deployments/scale", Object: "shop/cart", Code: []int{200, 403, 200, 500}[i%4], Agent: "kubectl", Latency: 12 * time.Millisecond, Source: "127.0.0.1"})
		}
	}
	m.refresh()
	return m
}

// frame draws a model after a test has set its state.
func frame(m *Model) string {
	m.resize()
	return m.View()
}
