//go:build e2e

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// BenchmarkPolicy measures NetworkPolicies on two nodes with 500 pods, most of them simulated: the time from creating or
// deleting a policy until pods on every node see the effect, without and with 100 other policies; and, if iperf3 is
// installed, what 100 policies cost in throughput between two pods.
//
//	apt-get install iperf3
//	make build && go test -tags e2e -run '^$' -bench Policy -benchtime 1x ./cmd/kl
//
// KL_BENCH_POLICIES is how many times a policy is created (100), KL_DRIVER the driver. The benchmarks of cluster/policy and
// embedded/node/policy measure the compiler alone.
func BenchmarkPolicy(b *testing.B) {
	times := 100
	if v, err := strconv.Atoi(os.Getenv("KL_BENCH_POLICIES")); err == nil && v > 0 {
		times = v
	}
	for b.Loop() {
		u := newUser(b)
		u.warmUp()
		p := u.policies()
		r := u.results()
		p.latencies(r, 0, times)
		p.hundred(true)
		p.latencies(r, 100, times)
		p.hundred(false)
		p.throughput(r)
		r.publish("policies")
	}
}

// policyBench is a cluster with pods that probe each other.
type policyBench struct {
	*user
	ctx    context.Context
	client kubernetes.Interface
	web    *http.Client
	server string
	probes []corev1.Pod // one on each node
	target string       // address of a pod that echoes datagrams
}

const policyBenchPods = 500

func (u *user) policies() *policyBench {
	u.kl("up", "--nodes", "2", "--simulated", "10")
	u.kl("image", "load", filepath.Join(u.images, "app.tar"))
	manifest := filepath.Join(u.home, "policy.yaml")
	if err := os.WriteFile(manifest, []byte(fmt.Sprintf(policyBenchManifest, policyBenchPods-5)), 0o600); err != nil {
		u.b.Fatal(err)
	}
	u.kl("kubectl", "apply", "-f", manifest)
	u.kl("kubectl", "rollout", "status", "daemonset/probe", "--timeout=2m")
	u.kl("kubectl", "rollout", "status", "deployment/crowd", "--timeout=5m")
	u.kl("kubectl", "wait", "--for=condition=Ready", "pod/target", "--timeout=2m")
	p := &policyBench{user: u, ctx: u.b.Context()}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(u.home, "clusters", u.cluster, "kubeconfig"))
	p.check(err)
	config.QPS = -1
	p.client, err = kubernetes.NewForConfig(config)
	p.check(err)
	p.web, err = rest.HTTPClientFor(config)
	p.check(err)
	p.server = config.Host
	list, err := p.client.CoreV1().Pods("default").List(p.ctx, metav1.ListOptions{LabelSelector: "app=probe"})
	p.check(err)
	p.probes = list.Items
	target, err := p.client.CoreV1().Pods("default").Get(p.ctx, "target", metav1.GetOptions{})
	p.check(err)
	p.target = target.Status.PodIP
	return p
}

func (p *policyBench) check(err error) {
	p.b.Helper()
	if err != nil {
		p.b.Fatal(err)
	}
}

// latencies creates and deletes a policy many times, beside a number of others, and measures how long each takes to have an effect.
func (p *policyBench) latencies(r *results, others, times int) {
	deny := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "deny"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "probe"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		},
	}
	policies := p.client.NetworkingV1().NetworkPolicies("default")
	var created, deleted []time.Duration
	for range times {
		created = append(created, p.until("no", func() {
			_, err := policies.Create(p.ctx, deny, metav1.CreateOptions{})
			p.check(err)
		}))
		deleted = append(deleted, p.until("yes", func() { p.check(policies.Delete(p.ctx, "deny", metav1.DeleteOptions{})) }))
	}
	about := fmt.Sprintf("/pods=%d/policies=%d", policyBenchPods, others)
	r.times(p.perDriver("policy/created"+about), created...)
	r.times(p.perDriver("policy/deleted"+about), deleted...)
}

// until makes a change and returns how long it took until pods on every node saw it.
func (p *policyBench) until(reached string, change func()) time.Duration {
	type answer struct {
		at  time.Time
		err error
	}
	answers := make(chan answer, len(p.probes))
	for _, pod := range p.probes {
		go func() {
			at, err := p.ask(pod.Name, reached)
			answers <- answer{at, err}
		}()
	}
	time.Sleep(100 * time.Millisecond) // the pods start to probe
	began := time.Now()
	change()
	var last time.Time
	for range p.probes {
		a := <-answers
		p.check(a.err)
		if a.at.After(last) {
			last = a.at
		}
	}
	return last.Sub(began)
}

func (p *policyBench) ask(pod, reached string) (time.Time, error) {
	url := fmt.Sprintf("%s/api/v1/namespaces/default/pods/%s:9000/proxy/until?reached=%s&to=%s", p.server, pod, reached, p.target)
	req, err := http.NewRequestWithContext(p.ctx, http.MethodGet, url, nil)
	if err != nil {
		return time.Time{}, err
	}
	resp, err := p.web.Do(req)
	if err != nil {
		return time.Time{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return time.Time{}, err
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask %s: %s: %s", pod, resp.Status, text)
	}
	return time.Unix(0, ns), nil
}

// hundred creates or deletes 100 policies that select the crowd and the pods of iperf3, with both as peers.
func (p *policyBench) hundred(on bool) {
	policies := p.client.NetworkingV1().NetworkPolicies("default")
	for i := range 100 {
		np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", i)}}
		if !on {
			p.check(policies.Delete(p.ctx, np.Name, metav1.DeleteOptions{}))
			continue
		}
		peer := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": []string{"crowd", "probe", "iperf3"}[i%3]}}}
		np.Spec = networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"crowd", "iperf3", fmt.Sprint("app", i)}},
			}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{peer}}},
			Egress:      []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{peer}}},
		}
		_, err := policies.Create(p.ctx, np, metav1.CreateOptions{})
		p.check(err)
	}
}

// throughput measures with iperf3 between two pods on one node and on two, without and with 100 policies in turn, so that
// other load on the machine affects both alike. It adds no rows if iperf3 is not installed.
func (p *policyBench) throughput(r *results) {
	program, err := exec.LookPath("iperf3")
	if err != nil {
		p.b.Log("SKIPPED: throughput: no iperf3: apt-get install iperf3")
		return
	}
	server := p.iperf3(program)
	const runs = 7
	type setup struct {
		from    string
		limited bool
	}
	found := map[setup][]float64{}
	for range runs {
		for _, limited := range []bool{false, true} {
			if limited {
				p.hundred(true)
			}
			for _, from := range []string{"near", "far"} {
				found[setup{from, limited}] = append(found[setup{from, limited}], p.stream(from, server))
			}
			if limited {
				p.hundred(false)
			}
		}
	}
	for _, from := range []struct{ name, text string }{{"near", "one_node"}, {"far", "two_nodes"}} {
		free, limited := found[setup{from.name, false}], found[setup{from.name, true}]
		kept := make([]float64, runs)
		for i := range kept {
			kept[i] = limited[i] / free[i]
		}
		on := "/on=" + from.text + "/policies="
		r.numbers(p.perDriver("iperf"+on+"0"), free...)
		r.numbers(p.perDriver("iperf"+on+"100"), limited...)
		r.numbers(p.perDriver("iperf/kept"+on+"100"), kept...)
	}
}

// iperf3 starts the pods and returns the server's address.
func (p *policyBench) iperf3(program string) string {
	out := filepath.Join(p.home, "iperf3")
	build := exec.CommandContext(p.ctx, "go", "run", "./testdata/images/mkimages", "-out", out, "-iperf3", program)
	build.Dir = p.h.source
	if text, err := build.CombinedOutput(); err != nil {
		p.b.Fatalf("make image: %v\n%s", err, text)
	}
	p.kl("image", "load", filepath.Join(out, "iperf3.tar"))
	manifest := filepath.Join(p.home, "iperf3.yaml")
	p.check(os.WriteFile(manifest, []byte(iperfManifest), 0o600))
	p.kl("kubectl", "apply", "-f", manifest)
	p.kl("kubectl", "wait", "--for=condition=Ready", "pod/server", "pod/near", "pod/far", "--timeout=2m")
	server, err := p.client.CoreV1().Pods("default").Get(p.ctx, "server", metav1.GetOptions{})
	p.check(err)
	return server.Status.PodIP
}

// stream sends for two seconds and returns what arrives at the server, in Gbit/s.
func (p *policyBench) stream(from, server string) float64 {
	var result struct {
		End struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	text := p.kl("kubectl", "exec", from, "--", "/bin/iperf3", "-J", "-t", "2", "-O", "1", "-c", server)
	p.check(json.Unmarshal([]byte(text), &result))
	return result.End.Received.Bits / 1e9
}

const policyBenchManifest = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: probe}
spec:
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: kl.test/app:1, imagePullPolicy: Never, args: [mesh, -addr, ":9000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: target}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: {kubernetes.io/hostname: n1}
  containers: [{name: c, image: kl.test/app:1, imagePullPolicy: Never, args: [mesh, -addr, ":9000"]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: crowd}
spec:
  replicas: %d
  selector: {matchLabels: {app: crowd}}
  template:
    metadata: {labels: {app: crowd}}
    spec:
      nodeSelector: {type: kwok}
      tolerations: [{key: kwok.x-k8s.io/node, operator: Exists}]
      containers: [{name: c, image: any}]
`

const iperfManifest = `
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: iperf3}}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: {kubernetes.io/hostname: n1}
  containers: [{name: c, image: kl.test/iperf3:1, imagePullPolicy: Never, args: ["-s"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: near, labels: {app: iperf3}}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: {kubernetes.io/hostname: n1}
  containers: [{name: c, image: kl.test/iperf3:1, imagePullPolicy: Never, args: ["-s"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: far, labels: {app: iperf3}}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: {kubernetes.io/hostname: n2}
  containers: [{name: c, image: kl.test/iperf3:1, imagePullPolicy: Never, args: ["-s"]}]
`
