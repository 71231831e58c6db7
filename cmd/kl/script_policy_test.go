//go:build e2e

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/klkube/kl/cluster/policy"
)

// mesh is the nine pods of testdata/manifests/mesh.yaml: a, b and c in the namespaces $NS-x, $NS-y and $NS-z. Requests to
// them go through the API server's proxy, which reaches a pod from its own node and which no policy denies.
type mesh struct {
	ctx    context.Context
	client kubernetes.Interface
	http   *http.Client
	server string
	prefix string                // $NS-
	pods   map[string]netip.Addr // by x/a
}

const (
	meshPorts   = "80 81"
	meshTimeout = 60 * time.Second // for a policy to be in force, on a busy machine
	// probeLimit is how long a probe waits for an answer. If that was too short, await probes again.
	probeLimit = 700 * time.Millisecond
)

// openMesh waits until the pods have addresses.
func openMesh(ts *testscript.TestScript) *mesh {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(ts.Getenv("KL_HOME"), "clusters", ts.Getenv("CLUSTER"), "kubeconfig"))
	ts.Check(err)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	ts.Check(err)
	web, err := rest.HTTPClientFor(config)
	ts.Check(err)
	m := &mesh{ctx: context.Background(), client: client, http: web, server: config.Host, prefix: ts.Getenv("NS") + "-", pods: map[string]netip.Addr{}}
	for began := time.Now(); len(m.pods) < 9; time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > meshTimeout {
			ts.Fatalf("only %d pods of the mesh have an address", len(m.pods))
		}
		list, err := client.CoreV1().Pods("").List(m.ctx, metav1.ListOptions{LabelSelector: "mesh"})
		ts.Check(err)
		for _, p := range list.Items {
			addr, err := netip.ParseAddr(p.Status.PodIP)
			if ns, ok := strings.CutPrefix(p.Namespace, m.prefix); ok && err == nil && p.Status.Phase == corev1.PodRunning {
				m.pods[ns+"/"+p.Name] = addr
			}
		}
	}
	return m
}

func (m *mesh) names() []string { return slices.Sorted(maps.Keys(m.pods)) }

// meshCommand is "mesh": waits for the nine pods and sets $IP_XA … $IP_ZC.
func meshCommand(ts *testscript.TestScript, _ bool, _ []string) {
	for name, addr := range openMesh(ts).pods {
		ts.Setenv("IP_"+strings.ToUpper(strings.ReplaceAll(name, "/", "")), addr.String())
	}
}

// truth is which pod reaches which: a key is "x/a z/b 80".
type truth map[string]bool

// truthCommand is "truth FILE…": each file is a policy, preceded by comments that say which pods reach which while it is
// in force. The last comment that matches counts; without one, every pod reaches every other:
//
//	# deny  * x/*       every pod to every pod of namespace x, on both ports
//	# allow y/b x/a 80
//
// A policy's namespace is that of the mesh, x, y or z, and $VARIABLES are replaced. For each file, the comments are compared
// with what the pods see and with the model of package policy, while the policy exists and after it is deleted.
func truthCommand(ts *testscript.TestScript, neg bool, files []string) {
	if neg || len(files) == 0 {
		ts.Fatalf("usage: truth FILE…")
	}
	m := openMesh(ts)
	all := m.expect(ts, "")
	m.await(ts, "without policies", all)
	for _, file := range files {
		text := os.Expand(ts.ReadFile(file), func(name string) string { return ts.Getenv(name) })
		began := time.Now()
		ts.Check(os.WriteFile(ts.MkAbs("applied.yaml"), []byte(text), 0o600))
		ts.Check(m.kubectl(ts, "apply", "-f", "applied.yaml"))
		m.await(ts, file, m.expect(ts, text))
		ts.Check(m.kubectl(ts, "delete", "-f", "applied.yaml"))
		m.await(ts, file+" removed", all)
		ts.Logf("%s: %.1fs", file, time.Since(began).Seconds())
	}
}

// kubectl runs kubectl without $NS, because the objects name their namespaces.
func (m *mesh) kubectl(ts *testscript.TestScript, args ...string) error {
	return ts.Exec("kl", append([]string{"kubectl", "--name", ts.Getenv("CLUSTER")}, args...)...)
}

// expect returns the table that the comments of a file describe.
func (m *mesh) expect(ts *testscript.TestScript, text string) truth {
	t := truth{}
	for _, from := range m.names() {
		for _, to := range m.names() {
			for port := range strings.FieldsSeq(meshPorts) {
				t[from+" "+to+" "+port] = true
			}
		}
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] != "#" || f[1] != "deny" && f[1] != "allow" {
			continue
		}
		hits := 0
		for k := range t {
			c := strings.Fields(k)
			if matches(f[2], c[0]) && matches(f[3], c[1]) && (len(f) == 4 || f[4] == c[2]) {
				t[k] = f[1] == "allow" || c[0] == c[1] // a pod always reaches itself
				hits++
			}
		}
		if hits == 0 {
			ts.Fatalf("%q matches no pods", line)
		}
	}
	return t
}

func matches(pattern, name string) bool {
	ok, err := filepath.Match(pattern, name)
	return pattern == "*" || err == nil && ok
}

// await probes until the pods see the wanted table, and checks that the model gives the same one.
func (m *mesh) await(ts *testscript.TestScript, what string, want truth) {
	if diff := want.diff(m.model(ts)); diff != "" {
		ts.Fatalf("%s: the model differs from the file:\n%s", what, diff)
	}
	for began := time.Now(); ; {
		got, err := m.probe()
		diff := want.diff(got)
		if err == nil && diff == "" {
			return
		}
		if time.Since(began) > meshTimeout {
			ts.Fatalf("%s: what the pods see differs from the file: %v\n%s", what, err, diff)
		}
	}
}

// diff lists the entries that differ in b.
func (t truth) diff(b truth) string {
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(t)) {
		if got, ok := b[k]; !ok || got != t[k] {
			lines = append(lines, fmt.Sprintf("%s: want %t", k, t[k]))
		}
	}
	return strings.Join(lines, "\n")
}

// probe makes every pod connect to every pod on every port, all at once.
func (m *mesh) probe() (truth, error) {
	t, names := truth{}, map[string]string{}
	query := url.Values{"for": {probeLimit.String()}}
	for name, addr := range m.pods {
		for port := range strings.FieldsSeq(meshPorts) {
			to := netip.AddrPortFrom(addr, uint16(number(port))).String()
			names[to] = name + " " + port
			query.Add("to", to)
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	for from := range m.pods {
		wg.Go(func() {
			text, err := m.ask(from, query)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			}
			for line := range strings.Lines(text) {
				if f := strings.Fields(line); len(f) == 2 {
					t[from+" "+names[f[0]]] = f[1] == "yes"
				}
			}
		})
	}
	wg.Wait()
	return t, failed
}

func (m *mesh) ask(pod string, query url.Values) (string, error) {
	ns, name, _ := strings.Cut(pod, "/")
	req, err := http.NewRequestWithContext(m.ctx, http.MethodGet,
		fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s:9000/proxy/probe?%s", m.server, m.prefix+ns, name, query.Encode()), nil)
	if err != nil {
		return "", err
	}
	resp, err := m.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("ask %s: %s: %s", pod, resp.Status, text)
	}
	return string(text), err
}

// model is what package policy computes from the objects in the cluster.
func (m *mesh) model(ts *testscript.TestScript) truth {
	pods, err := m.client.CoreV1().Pods("").List(m.ctx, metav1.ListOptions{})
	ts.Check(err)
	namespaces, err := m.client.CoreV1().Namespaces().List(m.ctx, metav1.ListOptions{})
	ts.Check(err)
	nodes, err := m.client.CoreV1().Nodes().List(m.ctx, metav1.ListOptions{})
	ts.Check(err)
	policies, err := m.client.NetworkingV1().NetworkPolicies("").List(m.ctx, metav1.ListOptions{})
	ts.Check(err)
	compiled := policy.Compile(policy.Objects{
		Pods: each(pods.Items), Namespaces: each(namespaces.Items), Nodes: each(nodes.Items), Policies: each(policies.Items),
	}, policy.Options{})
	t := truth{}
	for from, source := range m.pods {
		for to, target := range m.pods {
			for port := range strings.FieldsSeq(meshPorts) {
				t[from+" "+to+" "+port] = compiled.Verdict(source, target, corev1.ProtocolTCP, uint16(number(port))).Allowed
			}
		}
	}
	return t
}

func each[T any](list []T) (out []*T) {
	for i := range list {
		out = append(out, &list[i])
	}
	return out
}

func number(s string) int {
	n, _ := strconv.Atoi(s) // of meshPorts
	return n
}
