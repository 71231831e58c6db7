//go:build e2e

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/klkube/kl/cluster"
)

// BenchmarkBalancer measures how long a load balancer takes to get an address and to answer, and how long it does not
// answer after its node is killed or cut off, or its pod deleted.
//
//	make build && go test -tags e2e -run '^$' -bench Balancer -benchtime 1x ./cmd/kl
//
// KL_BENCH_RUNS is the number of runs (5), KL_DRIVER the driver.
func BenchmarkBalancer(b *testing.B) {
	runs := benchRuns(5)
	for b.Loop() {
		u := newUser(b)
		u.warmUp()
		u.kl("up", "--nodes", "2")
		u.kl("image", "load", filepath.Join(u.images, "app.tar"))
		l := u.balancers()
		var address, answer, kill, partition, pod []time.Duration
		for i := range 4 * runs {
			a, w := l.create(fmt.Sprintf("one-%d", i), corev1.ServiceExternalTrafficPolicyCluster)
			address, answer = append(address, a), append(answer, w)
		}
		l.create("local", corev1.ServiceExternalTrafficPolicyLocal)
		for range runs {
			kill = append(kill, l.outage(func(node string) { u.kl("node", "kill", node) }))
			u.kl("node", "start", l.holder)
			l.awaitRecovery()
			partition = append(partition, l.outage(func(node string) { u.kl("node", "partition", node) }))
			u.kl("node", "heal", l.holder)
			l.awaitRecovery()
			pod = append(pod, l.outage(func(node string) {
				u.kl("kubectl", "delete", "pod", "-l", "app=web", "--field-selector", "spec.nodeName="+node, "--wait=false")
			}))
			l.awaitRecovery()
		}
		u.kl("down")
		r := u.results()
		r.times(u.perDriver("balancer/address"), address...)
		r.times(u.perDriver("balancer/answer"), answer...)
		r.times(u.perDriver("balancer/outage/of=node/by=killed"), kill...)
		r.times(u.perDriver("balancer/outage/of=node/by=cut_off"), partition...)
		r.times(u.perDriver("balancer/outage/of=pod/by=deleted"), pod...)
		r.publish("load balancers")
	}
}

// balancerBench is a cluster with a server on each of two nodes, and Services in front of them.
type balancerBench struct {
	u      *user
	client kubernetes.Interface
	holder string // the node that held the address before the last outage
}

func (u *user) balancers() *balancerBench {
	u.b.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", u.layout().Kubeconfig())
	if err != nil {
		u.b.Fatal(err)
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		u.b.Fatal(err)
	}
	u.kl("kubectl", "apply", "-f", filepath.Join(u.h.source, "testdata", "manifests", "web.yaml"))
	u.kl("kubectl", "rollout", "status", "deployment/web", "--timeout=60s")
	return &balancerBench{u: u, client: client}
}

func (u *user) layout() cluster.Layout { return cluster.Home(u.home).Cluster(u.cluster) }

// create creates a Service and returns how long it took to get an address, and to answer there.
func (l *balancerBench) create(name string, policy corev1.ServiceExternalTrafficPolicy) (address, answer time.Duration) {
	b := l.u.b
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	services := l.client.CoreV1().Services(metav1.NamespaceDefault)
	w, err := services.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Stop()
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}}
	svc.Spec.Type, svc.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, policy
	svc.Spec.Selector = map[string]string{"app": "web"}
	svc.Spec.Ports = []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}}
	began := time.Now()
	if _, err := services.Create(ctx, svc, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	for e := range w.ResultChan() {
		svc, ok := e.Object.(*corev1.Service)
		if !ok || e.Type == watch.Error {
			b.Fatalf("watch Service: %v", e.Object)
		}
		if i := svc.Status.LoadBalancer.Ingress; len(i) > 0 {
			address = time.Since(began)
			l.await(ctx, i[0].IP)
			return address, time.Since(began)
		}
	}
	b.Fatalf("Service %s has no address", name)
	return 0, 0
}

// await returns once a connection to the address succeeds.
func (l *balancerBench) await(ctx context.Context, ip string) {
	for ctx.Err() == nil {
		dialer := net.Dialer{Timeout: 100 * time.Millisecond}
		if conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(ip, "80")); err == nil {
			conn.Close()
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	l.u.b.Fatalf("no answer from %s", ip)
}

// outage calls f with the node that holds the address of Service local, and returns how long there was no answer.
func (l *balancerBench) outage(f func(node string)) time.Duration {
	b := l.u.b
	b.Helper()
	now, err := balancerOf(l.u.layout(), metav1.NamespaceDefault, "local")
	if err != nil {
		b.Fatal(err)
	}
	l.holder = now.Node
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	watched := make(chan time.Duration, 1)
	go func() { watched <- longestOutage(ctx, "http://"+now.Address+"/") }()
	time.Sleep(300 * time.Millisecond)
	f(now.Node)
	time.Sleep(4 * time.Second)
	cancel()
	longest := <-watched
	b.Logf("on %s: %d ms", now.Node, longest.Milliseconds())
	return longest
}

// awaitRecovery waits until both nodes are Ready, each serves its own pod, and the address answers. The Ready condition
// alone may date from before a short outage.
func (l *balancerBench) awaitRecovery() {
	b := l.u.b
	b.Helper()
	l.u.kl("kubectl", "wait", "--for=condition=Ready", "nodes", "--all", "--timeout=120s")
	l.u.kl("kubectl", "rollout", "status", "deployment/web", "--timeout=120s")
	svc, err := l.client.CoreV1().Services(metav1.NamespaceDefault).Get(b.Context(), "local", metav1.GetOptions{})
	if err != nil {
		b.Fatal(err)
	}
	nodes, err := l.client.CoreV1().Nodes().List(b.Context(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	urls := []string{"http://" + svc.Status.LoadBalancer.Ingress[0].IP}
	for _, n := range nodes.Items {
		urls = append(urls, fmt.Sprintf("http://%s:%d/", n.Status.Addresses[0].Address, svc.Spec.Ports[0].NodePort),
			fmt.Sprintf("http://%s:%d/healthz", n.Status.Addresses[0].Address, svc.Spec.HealthCheckNodePort))
	}
	good := 0
	for range 1200 {
		if good++; !answer(urls) {
			good = 0
		}
		if good == 5 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.Fatal("the servers do not answer again")
}

// answer reports whether every URL returns 200.
func answer(urls []string) bool {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, u := range urls {
		resp, err := client.Get(u)
		if err != nil {
			return false
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return false
		}
	}
	return true
}
