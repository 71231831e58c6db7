package policy

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klkube/kl/cluster/policy"
	"github.com/klkube/kl/embedded/node/policy/cni"
)

const denyX = `{metadata: {name: deny-all}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}`

// try makes one connection and compares.
func (l *lab) try(what, from, network, to string, want bool) {
	l.t.Helper()
	h, addr := l.at[from], l.pods[from]
	if h == l.n2 {
		addr = l.pods[from]
	}
	if got := h.reaches(network, addr, to, want); got != want {
		l.t.Errorf("%s: %s → %s %s: allowed %v, want %v", what, from, network, to, got, want)
	}
}

// TestEstablished: a policy applies to existing connections, replies to allowed connections pass, and changes do not affect
// connections that they do not concern.
func TestEstablished(t *testing.T) {
	if !inNode(t) {
		return
	}
	l := newLab(t)
	l.start()
	type conn struct {
		network, from, to string
		cut               bool // by denyX
	}
	conns := []conn{
		{"tcp", "y/a", "x/a", true}, {"udp", "y/a", "x/b", true}, {"tcp", "x/a", "z/c", true}, {"tcp", "z/c", "x/b", true},
		{"tcp", "y/a", "z/a", false}, {"udp", "y/b", "z/c", false}, {"tcp", "z/c", "y/b", false},
	}
	ids := make([]int, len(conns))
	for i, c := range conns {
		id, err := l.at[c.from].do(order{Op: "open", Network: c.network, From: l.pods[c.from], Addr: l.pods[c.to] + ":80", Timeout: long})
		if err != "" {
			t.Fatalf("open %v: %s", c, err)
		}
		ids[i] = id
	}
	talk := func(when string, cut bool) {
		t.Helper()
		for i, c := range conns {
			timeout := long
			if cut && c.cut {
				timeout = brief
			}
			_, err := l.at[c.from].do(order{Op: "talk", Conn: ids[i], Timeout: timeout})
			if got := err == ""; got != !(cut && c.cut) {
				t.Errorf("%s: connection %v lives: %v (%s)", when, c, got, err)
			}
		}
	}
	talk("before", false)
	remove := l.enforce(strings.ReplaceAll(denyX, "namespace: x", "") + "\n---\n" + `{metadata: {namespace: y, name: in}, spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {ports: [{port: 80}]}]}}`)
	talk("with policies", true)
	remove()
	talk("after", false) // TCP retransmits what was dropped
}

// TestUnknownPod: with policies, a pod that is not programmed is cut off from all but its node until the CNI plugin claims
// its address.
func TestUnknownPod(t *testing.T) {
	if !inNode(t) {
		return
	}
	l := newLab(t)
	const addr = "10.244.1.77"
	l.pods["y/new"] = addr
	l.at["y/new"] = makePod(t, "ynew", addr)
	l.at["y/new"].listen("tcp", addr+":80")

	closed := New(l.connect, Config{Node: "n1", Gateway: gateway})
	if err := closed.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.try("nothing is known", "y/a", "tcp", l.pods["z/a"]+":80", false)
	l.try("nothing is known", "y/a", "tcp", "10.245.0.1:6443", false)
	if !l.node.reaches("tcp", "", l.pods["z/a"]+":80", true) {
		t.Error("the node does not reach its own pod before the first sync")
	}
	l.start()
	l.try("no policies", "y/new", "tcp", l.pods["z/a"]+":80", true)
	remove := l.enforce(`{metadata: {namespace: z, name: in}, spec: {podSelector: {matchLabels: {pod: b}}}}`)
	l.try("ingress policies only", "y/new", "tcp", l.pods["z/a"]+":80", true)
	l.try("ingress policies only", "y/a", "tcp", addr+":80", false)
	remove()
	remove = l.enforce(`{metadata: {namespace: z, name: both}, spec: {podSelector: {matchLabels: {pod: b}}, policyTypes: [Ingress, Egress]}}`)
	l.try("unknown", "y/new", "tcp", l.pods["z/a"]+":80", false)
	l.try("unknown", "y/new", "tcp", "10.245.0.1:6443", false)
	if !l.node.reaches("tcp", "", addr+":80", true) {
		t.Error("the node does not reach its own unknown pod")
	}

	claimed := make(chan error, 1)
	go func() { claimed <- plugin(t, "ADD", "y", "new", addr) }()
	l.create(labPod("y", "new", "n1", "")) // the API may show the pod later than the plugin asks, and its address much later
	if err := <-claimed; err != nil {
		t.Fatal(err)
	}
	l.try("claimed", "y/new", "tcp", l.pods["z/a"]+":80", true)
	l.try("claimed", "y/a", "tcp", addr+":80", true)
	l.try("claimed", "y/new", "tcp", l.pods["z/b"]+":80", false)
	if err := plugin(t, "DEL", "y", "new", addr); err != nil {
		t.Fatal(err)
	}
	l.await(func(m *policy.Model) bool { return m.PodAt(netip.MustParseAddr(addr)) == nil })
	l.try("released", "y/new", "tcp", l.pods["z/a"]+":80", false)
	remove()
}

// plugin runs the CNI plugin as containerd would.
func plugin(t *testing.T, command, namespace, name, addr string) error {
	env := map[string]string{"CNI_COMMAND": command,
		"CNI_ARGS": fmt.Sprintf("K8S_POD_NAMESPACE=%s;K8S_POD_NAME=%s;K8S_POD_UID=%s%s", namespace, name, namespace, name)}
	conf := fmt.Sprintf(`{"cniVersion":"1.0.0","prevResult":{"ips":[{"address":"%s/24"}]}}`, addr)
	return cni.Run(t.Context(), func(k string) string { return env[k] }, strings.NewReader(conf), io.Discard)
}

// TestServicePath: traffic to a Service's address is judged by the pod behind it, and a pod may reach itself through one.
func TestServicePath(t *testing.T) {
	if !inNode(t) {
		return
	}
	l := newLab(t)
	for i, pod := range []string{"x/a", "y/a", "y/c"} { // as kube-proxy does it
		nft(t, strings.NewReplacer("I", string(rune('1'+i)), "ADDR", l.pods[pod]).Replace(`
			table ip proxyI {
				chain pre { type nat hook prerouting priority dstnat; ip daddr 10.96.0.I tcp dport 8080 dnat to ADDR:80; ip daddr 172.18.0.2 tcp dport 3000I dnat to ADDR:80; }
				chain post { type nat hook postrouting priority srcnat; ip saddr ADDR ip daddr ADDR masquerade; ct original ip daddr 172.18.0.2 ct direction original ip saddr 203.0.113.0/24 masquerade; }
			}`))
	}
	l.start()
	svcX, svcY, svcYC := "10.96.0.1:8080", "10.96.0.2:8080", "10.96.0.3:8080"
	for _, to := range []string{svcX, svcY, svcYC} {
		l.try("no policies", "x/a", "tcp", to, true)
	}
	l.enforce(`{metadata: {name: np}, spec: {podSelector: {}, policyTypes: [Ingress, Egress],
  ingress: [{from: [{ipBlock: {cidr: 203.0.113.7/32}}], ports: [{port: 80}]}],
  egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {pod: c}}}], ports: [{port: 80}]}]}}`)
	l.try("hairpin", "x/a", "tcp", svcX, true)
	l.try("egress to a pod that is not allowed", "x/a", "tcp", svcY, false)
	l.try("egress to a pod that is allowed, on its own port", "x/a", "tcp", svcYC, true)
	l.try("ingress from a pod", "y/a", "tcp", svcX, false)
	if !l.outside.reaches("tcp", "", "172.18.0.2:30001", true) {
		t.Error("NodePort: the client that the ipBlock allows is not let in")
	}
}

// TestProtocols: rules for TCP do not apply to SCTP, and the reverse.
func TestProtocols(t *testing.T) {
	if !inNode(t) {
		return
	}
	l := newLab(t)
	l.start()
	remove := l.enforce(`spec: {podSelector: {}, ingress: [{ports: [{port: 80, protocol: SCTP}]}]}`)
	l.try("SCTP only", "y/a", "tcp", l.pods["x/a"]+":80", false)
	remove()
	if _, err := l.at["y/a"].do(order{Op: "sctp", Addr: l.pods["x/a"] + ":80", Timeout: long}); err != "" {
		t.Skipf("SKIPPED: NO SCTP IN THIS KERNEL (%s). SCTP was not tested with real packets.", err)
	}
	remove = l.enforce(`spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}`)
	l.try("TCP only", "y/a", "tcp", l.pods["x/a"]+":80", true)
	l.try("TCP only", "y/a", "sctp", l.pods["x/a"]+":80", false)
	remove()
	l.enforce(`spec: {podSelector: {}, ingress: [{ports: [{port: 80, protocol: SCTP}]}]}`)
	l.try("SCTP only", "y/a", "sctp", l.pods["x/a"]+":80", true)
}

// TestRestart: rules stay in force while no agent runs, and the next agent takes over.
func TestRestart(t *testing.T) {
	if !inNode(t) {
		return
	}
	l := newLab(t)
	l.start()
	l.enforce(denyX)
	l.try("first agent", "y/a", "tcp", l.pods["x/a"]+":80", false)
	l.stop()
	l.try("no agent", "y/a", "tcp", l.pods["x/a"]+":80", false)
	l.try("no agent", "y/a", "tcp", l.pods["z/a"]+":80", true)
	if err := l.client.NetworkingV1().NetworkPolicies("x").Delete(t.Context(), "deny-all", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	l.start()
	l.try("second agent", "y/a", "tcp", l.pods["x/a"]+":80", true)
	run(t, "nft delete table inet %s", TableName)
	if l.agent.verify(t.Context()) {
		t.Error("a deleted table was not noticed")
	}
	l.enforce(denyX)
	l.try("table was deleted", "y/a", "tcp", l.pods["x/a"]+":80", false)
}

// TestVerdictsAreVisible: counters and denials name the deciding policy.
func TestVerdictsAreVisible(t *testing.T) {
	if !inNode(t) {
		return
	}
	l := newLab(t)
	l.start()
	srv := httptest.NewServer(l.agent.Handler())
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l.enforce(denyX + "\n---\n" + `{metadata: {name: web}, spec: {podSelector: {matchLabels: {pod: a}}, ingress: [{ports: [{port: 80}]}]}}`)
	stream := bufio.NewReader(get(ctx, t, srv.URL+policy.DenialsPath+"?watch=1").Body)

	l.try("allowed", "y/a", "tcp", l.pods["x/a"]+":80", true)
	l.try("denied", "y/a", "tcp", l.pods["x/b"]+":81", false)
	line, err := stream.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var d policy.Denial
	if err := json.Unmarshal(line, &d); err != nil {
		t.Fatal(err)
	}
	if d.From != "y/a" || d.To != "x/b" || d.Port != 81 || d.Protocol != "TCP" || d.Direction != policy.Ingress || d.Seq != 1 ||
		strings.Join(d.Policies, " ") != "x/deny-all" || time.Since(d.Time) > time.Minute {
		t.Errorf("denial %+v", d)
	}

	var c policy.Counters
	decode(t, get(ctx, t, srv.URL+policy.CountersPath), &c)
	found := map[string]policy.Counter{}
	for _, p := range c.Policies {
		found[p.Policy+" "+string(p.Direction)] = p
	}
	if p := found["x/web ingress"]; p.Allowed != 1 || p.Denied != 0 {
		t.Errorf("x/web: %+v", p)
	}
	if p := found["x/deny-all ingress"]; p.Allowed != 0 || p.Denied == 0 {
		t.Errorf("x/deny-all: %+v", p)
	}
	if !c.Table.LogsAvailable || c.Table.Rules == 0 || c.Unknown != 0 {
		t.Errorf("table %+v, unknown %d", c.Table, c.Unknown)
	}
	pairs := map[string]policy.PairCounter{}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); len(pairs) < 2 && time.Now().Before(deadline); <-tick.C {
		list, _ := l.agent.journal.pairCounters() // log messages come up to a tenth of a second late
		for _, p := range list {
			pairs[p.From+" "+p.To] = p
		}
	}
	if p := pairs["y/a x/a"]; p.Allowed != 1 || strings.Join(p.Policies, " ") != "x/web" {
		t.Errorf("pair y/a x/a: %+v", p)
	}
	if p := pairs["y/a x/b"]; p.Denied != 1 || strings.Join(p.Policies, " ") != "x/deny-all" {
		t.Errorf("pair y/a x/b: %+v", p)
	}
}

func get(ctx context.Context, t *testing.T, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, res.Status)
	}
	return res
}

func decode(t *testing.T, res *http.Response, into any) {
	t.Helper()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}
