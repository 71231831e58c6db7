package policy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster/policy"
	"github.com/klkube/kl/embedded/node/policy/cni"
)

var gateway = netip.MustParseAddr("10.245.0.1")

// lab is a cluster of three namespaces x, y, z with pods a, b, c; c is on node n2, the others on n1, which is here.
type lab struct {
	t       *testing.T
	client  *fake.Clientset
	agent   *Agent
	stop    func()
	pods    map[string]string // namespace/name → address
	at      map[string]*helper
	n2      *helper
	outside *helper // a host outside of the cluster
	node    *helper
}

var labPorts = []string{"80", "81"}

func newLab(t *testing.T) *lab {
	l := &lab{t: t, client: fake.NewClientset(), pods: map[string]string{}, at: map[string]*helper{}}
	l.n2, l.outside, l.node = makeNode(t)
	for i, cidr := range []string{"10.244.1.0/24", "10.244.2.0/24"} {
		l.create(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i+1)}, Spec: corev1.NodeSpec{PodCIDR: cidr},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("172.18.0.%d", i+2)}}},
		})
	}
	for i, ns := range []string{"x", "y", "z"} {
		l.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{"ns": ns}}})
		for j, pod := range []string{"a", "b", "c"} {
			key, node := ns+"/"+pod, "n1"
			l.pods[key] = fmt.Sprintf("10.244.1.%d", 10*(i+1)+j)
			if pod == "c" {
				node, l.pods[key] = "n2", fmt.Sprintf("10.244.2.%d", 10*(i+1))
				run(t, "ip -n n2 addr add %s/32 dev lo", l.pods[key])
				l.at[key] = l.n2
			} else {
				l.at[key] = makePod(t, ns+pod, l.pods[key])
			}
			for _, port := range labPorts {
				l.at[key].listen("tcp", l.pods[key]+":"+port)
				l.at[key].listen("udp", l.pods[key]+":"+port)
			}
			l.create(labPod(ns, pod, node, l.pods[key]))
		}
	}
	l.outside.listen("tcp", "203.0.113.7:80")
	l.n2.listen("tcp", "172.18.0.3:80")
	for _, a := range []string{"10.245.0.1:6443", "172.18.0.2:10250"} {
		l.node.listen("tcp", a)
	}
	return l
}

func labPod(ns, name, node, addr string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns, UID: types.UID(ns + name), Labels: map[string]string{"pod": name}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
			{Name: "serve-80", ContainerPort: 80}, {Name: "serve-" + name, ContainerPort: 81}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: addr},
	}
}

func (l *lab) create(obj any) {
	l.t.Helper()
	ctx, c, opts := l.t.Context(), l.client, metav1.CreateOptions{}
	var err error
	switch o := obj.(type) {
	case *corev1.Node:
		_, err = c.CoreV1().Nodes().Create(ctx, o, opts)
	case *corev1.Namespace:
		_, err = c.CoreV1().Namespaces().Create(ctx, o, opts)
	case *corev1.Pod:
		_, err = c.CoreV1().Pods(o.Namespace).Create(ctx, o, opts)
	case *networkingv1.NetworkPolicy:
		_, err = c.NetworkingV1().NetworkPolicies(o.Namespace).Create(ctx, o, opts)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) connect() (kubernetes.Interface, error) { return l.client, nil }

// start runs an agent and returns when it is ready.
func (l *lab) start() {
	l.t.Helper()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	l.agent = New(l.connect, Config{Node: "n1", Gateway: gateway, Socket: cni.Socket, Logger: log})
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.t.Context()))
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- l.agent.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		l.t.Fatalf("agent: %v", err)
	}
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			l.t.Errorf("agent returned %v", err)
		}
	})
	l.t.Cleanup(l.stop)
}

// await waits until the model in force satisfies ok.
func (l *lab) await(ok func(*policy.Model) bool) {
	l.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		m, changed := l.agent.enforced.Get()
		if m != nil && ok(m) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			l.t.Fatalf("timed out; in force is\n%s", m)
		}
	}
}

// enforce creates policies, waits for them, and returns what removes them again.
func (l *lab) enforce(docs string) (remove func()) {
	l.t.Helper()
	var made []*networkingv1.NetworkPolicy
	for i, doc := range strings.Split(docs, "\n---\n") {
		np := &networkingv1.NetworkPolicy{}
		if err := yaml.UnmarshalStrict([]byte(doc), np); err != nil {
			l.t.Fatal(err)
		}
		if np.Namespace == "" {
			np.Namespace = "x"
		}
		if np.Name == "" {
			np.Name = fmt.Sprintf("np-%d", i)
		}
		l.create(np)
		made = append(made, np)
	}
	l.await(func(m *policy.Model) bool { return len(m.Policies) == len(made) })
	return func() {
		for _, np := range made {
			if err := l.client.NetworkingV1().NetworkPolicies(np.Namespace).Delete(l.t.Context(), np.Name, metav1.DeleteOptions{}); err != nil {
				l.t.Fatal(err)
			}
		}
		l.await(func(m *policy.Model) bool { return len(m.Policies) == 0 })
	}
}

// check tries every connection between pods, the host outside, the gateway and nodes, and compares with the model.
func (l *lab) check(protocol string) (allowed, denied int) {
	l.t.Helper()
	m := l.agent.enforced.Load()
	var mu sync.Mutex
	var wg sync.WaitGroup
	try := func(h *helper, from, to, port string) {
		if strings.HasPrefix(from, "10.244.2.") && strings.HasPrefix(to, "10.244.2.") {
			return // not seen here
		}
		wg.Go(func() {
			number, _ := net.LookupPort("tcp", port)
			v := m.Verdict(netip.MustParseAddr(from), netip.MustParseAddr(to), corev1.Protocol(strings.ToUpper(protocol)), uint16(number))
			// The agent of n2 would judge pods of n2.
			want := (v.Egress.Allowed || strings.HasPrefix(from, "10.244.2.")) && (v.Ingress.Allowed || strings.HasPrefix(to, "10.244.2."))
			got := h.reaches(protocol, from, net.JoinHostPort(to, port), want)
			mu.Lock()
			defer mu.Unlock()
			if got != want {
				l.t.Errorf("%s %s → %s:%s: allowed %v, want %v\n\t%s\n\t%s", protocol, v.From, v.To, port, got, want, v.Egress.Text, v.Ingress.Text)
			}
			if got {
				allowed++
			} else {
				denied++
			}
		})
	}
	for from, h := range l.at {
		for _, to := range l.pods {
			for _, port := range labPorts {
				try(h, l.pods[from], to, port)
			}
		}
		if protocol == "tcp" {
			try(h, l.pods[from], "203.0.113.7", "80")
			if h != l.n2 {
				try(h, l.pods[from], "172.18.0.3", "80")
				try(h, l.pods[from], "172.18.0.2", "10250")
				try(h, l.pods[from], "10.245.0.1", "6443")
			}
			try(l.outside, "203.0.113.7", l.pods[from], "80")
			try(l.node, "172.18.0.2", l.pods[from], "80")
			try(l.n2, "172.18.0.3", l.pods[from], "81")
		}
	}
	wg.Wait()
	return allowed, denied
}

// labPolicies are a dozen ways to isolate pods.
var labPolicies = []struct{ name, docs string }{
	{"deny all ingress of x", `spec: {podSelector: {}}`},
	{"deny all egress of x", `spec: {podSelector: {}, policyTypes: [Egress]}`},
	{"deny everything everywhere", `{metadata: {namespace: x}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}
---
{metadata: {namespace: y}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}
---
{metadata: {namespace: z}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}`},
	{"allow from the own namespace", `spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}`},
	{"allow from a namespace", `spec: {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}`},
	{"allow from a pod in a namespace on a port", `spec: {podSelector: {matchLabels: {pod: a}},
  ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}, podSelector: {matchLabels: {pod: b}}}], ports: [{port: 80}]}]}`},
	{"named ports", `spec: {podSelector: {}, ingress: [{ports: [{port: serve-80}]}, {from: [{namespaceSelector: {}}], ports: [{port: serve-a}]}]}`},
	{"named ports on egress", `spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: serve-b}]}]}`},
	{"a range of ports and a block with an exception", `spec: {podSelector: {},
  ingress: [{from: [{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.1.20/31, 10.244.2.30/32]}}], ports: [{port: 79, endPort: 80}, {protocol: UDP, port: 81}]}]}`},
	{"an outside block and the gateway", `spec: {podSelector: {}, policyTypes: [Egress],
  egress: [{to: [{ipBlock: {cidr: 203.0.113.0/24}}]}, {to: [{ipBlock: {cidr: 10.245.0.1/32}}], ports: [{port: 6443}]}]}`},
	{"everything but the pods as a block", `spec: {podSelector: {matchLabels: {pod: b}}, policyTypes: [Ingress, Egress],
  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.244.0.0/16]}}]}], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.244.0.0/16]}}]}]}`},
	{"both ends have a say, and policies add up", `{metadata: {namespace: x}, spec: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}}
---
{metadata: {namespace: y}, spec: {podSelector: {}}}
---
{metadata: {namespace: y}, spec: {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}}], ports: [{port: 80}]}]}}
---
{metadata: {namespace: y}, spec: {podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {pod: b}}}]}, {ports: [{protocol: UDP}]}]}}`},
}

// TestTruthTable compares real connections with the model before, during and after each of a dozen policies.
func TestTruthTable(t *testing.T) {
	if !inNode(t) {
		return
	}
	nft(t, "table inet other { chain c { counter comment \"not ours\"; }; }")
	before := run(t, "nft list table inet other")
	l := newLab(t)
	l.start()
	if _, denied := l.check("tcp"); denied != 0 {
		t.Fatalf("%d connections denied without a policy", denied)
	}
	for _, p := range labPolicies {
		t.Run(p.name, func(t *testing.T) {
			l.t = t
			remove := l.enforce(p.docs)
			for _, protocol := range []string{"tcp", "udp"} {
				allowed, denied := l.check(protocol)
				t.Logf("%s: %d allowed, %d denied", protocol, allowed, denied)
				if denied == 0 && protocol == "tcp" {
					t.Error("the policy denied nothing")
				}
			}
			remove()
		})
	}
	l.t = t
	if _, denied := l.check("tcp"); denied != 0 {
		t.Errorf("%d connections denied after the last policy", denied)
	}
	if after := run(t, "nft list table inet other"); after != before {
		t.Errorf("another program's table changed from\n%s\nto\n%s", before, after)
	}
}
