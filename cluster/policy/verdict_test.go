package policy

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// places are the addresses of the ends named in the cases below.
var places = map[string]string{
	"web": "10.244.1.2", "web-new": "10.244.2.2", "db": "10.244.2.3", "probe": "10.244.1.4", "leaving": "10.244.1.5",
	"job": "10.244.1.6", "n1": "172.18.0.2", "n1-bridge": "10.244.1.1", "n2": "172.18.0.3", "gateway": "10.245.0.1", "outside": "203.0.113.7",
}

const header = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: np, namespace: shop}\nspec:\n"

func TestVerdict(t *testing.T) {
	tests := []struct {
		name string
		spec string // of policy shop/np
		want string // a line each: from to protocol/port: yes or no
	}{
		{"nothing is isolated without policies", "", `
			web db TCP/1: yes
			outside db UDP/53: yes
			web gateway TCP/6443: yes`},
		{"deny all ingress, policyTypes defaulted", `  podSelector: {}`, `
			probe db TCP/80: no
			web db TCP/80: no
			outside db TCP/80: no
			db probe TCP/80: yes
			web web TCP/80: yes
			n1 web TCP/80: yes
			n1-bridge web TCP/80: yes
			gateway web TCP/80: yes
			n2 web TCP/80: no`},
		{"egress rules default to both types", `  podSelector: {matchLabels: {app: web}}
  egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]`, `
			web db TCP/1: yes
			web probe TCP/1: no
			db web TCP/1: no
			probe web TCP/1: no`},
		{"deny all egress leaves the own node, not the gateway", `  podSelector: {}
  policyTypes: [Egress]`, `
			web n1 TCP/10250: yes
			web n1-bridge TCP/80: yes
			web n2 TCP/10250: no
			web gateway TCP/6443: no
			web web TCP/1: yes
			web outside TCP/80: no
			probe web TCP/80: yes`},
		{"gateway as an outside peer", `  podSelector: {}
  policyTypes: [Egress]
  egress: [{to: [{ipBlock: {cidr: 10.245.0.1/32}}], ports: [{port: 6443}]}]`, `
			web gateway TCP/6443: yes
			web gateway TCP/6444: no
			web outside TCP/6443: no`},
		{"namespace selector alone", `  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}]`, `
			probe db TCP/80: yes
			leaving db TCP/80: yes
			web db TCP/80: no
			n2 db TCP/80: yes
			n1 db TCP/80: no`},
		{"both selectors in one peer", `  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: probe}}}]}]`, `
			probe db TCP/80: yes
			leaving db TCP/80: no
			web db TCP/80: no`},
		{"both selectors in two peers", `  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}, {podSelector: {matchLabels: {app: web}}}]}]`, `
			probe db TCP/80: yes
			leaving db TCP/80: yes
			web-new db TCP/80: yes`},
		{"host network is its node's address, and completed pods are nobody", `  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{namespaceSelector: {}}]}]`, `
			n2 web TCP/80: no
			job web TCP/80: no
			db web TCP/80: yes
			outside job TCP/80: yes`},
		{"block with exceptions", `  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.244.2.0/24, 203.0.113.0/28]}}]}]`, `
			probe web TCP/80: yes
			db web TCP/80: no
			n2 web TCP/80: yes
			outside web TCP/80: no`},
		{"named port is the destination's", `  podSelector: {matchLabels: {app: web}}
  ingress: [{ports: [{port: http}, {port: metrics}, {port: admin}]}]`, `
			outside web TCP/8080: yes
			outside web TCP/9090: no
			outside web-new TCP/9090: yes
			outside web-new TCP/8080: no
			outside web-new TCP/9100: yes
			outside web-new TCP/1: no
			outside web UDP/8080: no`},
		{"named port on egress", `  podSelector: {matchLabels: {app: db}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {}}, {ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: http}]}]`, `
			db web TCP/8080: yes
			db web-new TCP/9090: yes
			db web TCP/9090: no
			db probe TCP/8080: no
			db outside TCP/8080: no
			db n1 TCP/8080: no`},
		{"port ranges and protocols", `  podSelector: {matchLabels: {app: web}}
  ingress: [{ports: [{port: 8000, endPort: 8100}, {protocol: UDP, port: 53}, {protocol: SCTP}]}]`, `
			db web TCP/7999: no
			db web TCP/8000: yes
			db web TCP/8100: yes
			db web TCP/8101: no
			db web UDP/53: yes
			db web TCP/53: no
			db web SCTP/9: yes
			db web ICMP/0: no`},
		{"a rule without ports allows any protocol", `  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {}}]}]`, `
			db web ICMP/0: yes
			probe web ICMP/0: no`},
		{"an exception that is not understood voids the block", `  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [nonsense]}}]}]`, `
			db web TCP/80: no`},
		{"no common family", `  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{ipBlock: {cidr: "::/0"}}]}]`, `
			db web TCP/80: no`},
		{"empty policyTypes entry isolates egress with nothing allowed", `  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  ingress: [{}]
  egress: []`, `
			web db TCP/80: no
			db web TCP/80: yes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o Objects
			o.load(t, readFile(t, "testdata/cluster.yaml"))
			if tt.spec != "" {
				o.load(t, []byte(header+tt.spec))
			}
			m := Compile(o, Options{Gateway: netip.MustParseAddr("10.245.0.1")})
			var want, got []string
			for _, line := range strings.Split(strings.TrimSpace(tt.want), "\n") {
				want = append(want, strings.TrimSpace(line))
				got = append(got, ask(t, m, strings.TrimSpace(line)))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("verdicts (-want +got):\n%s\n%s", diff, m)
			}
		})
	}
}

// ask returns a line of TestVerdict with the answer of the model.
func ask(t *testing.T, m *Model, line string) string {
	t.Helper()
	question, _, _ := strings.Cut(line, ":")
	f := strings.Fields(question)
	proto, portText, _ := strings.Cut(f[2], "/")
	var port uint16
	if _, err := fmt.Sscan(portText, &port); err != nil || places[f[0]] == "" || places[f[1]] == "" {
		t.Fatalf("bad line %q", line)
	}
	answer := "no"
	if m.Verdict(addr(places[f[0]]), addr(places[f[1]]), corev1.Protocol(proto), port).Allowed {
		answer = "yes"
	}
	return question + ": " + answer
}

// TestExplain checks the text of decisions, and which policy and rule it names.
func TestExplain(t *testing.T) {
	m := exampleModel(t)
	tests := []struct{ from, to, egress, ingress string }{
		{"web", "db", "policy shop/web-out allows it: egress rule 2 (pods with app=db in namespace shop, TCP/5432-5433)",
			"policy shop/db allows it: ingress rule 1 (pods with app=web in namespace shop, TCP/5432)"},
		{"probe", "db", "no policy selects ops/probe for egress",
			"shop/db is isolated for ingress by shop/db, shop/deny-all, and no rule allows ops/probe TCP port 5432"},
		{"n2", "db", "node/n2 is not a pod: no policy applies", "a pod and the node it runs on may always talk"},
		{"web", "gateway", "shop/web is isolated for egress by shop/web-out, and no rule allows gateway TCP port 5432",
			"gateway is not a pod: no policy applies"},
	}
	for _, tt := range tests {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			v := m.Verdict(addr(places[tt.from]), addr(places[tt.to]), corev1.ProtocolTCP, 5432)
			if diff := cmp.Diff([]string{tt.egress, tt.ingress}, []string{v.Egress.Text, v.Ingress.Text}); diff != "" {
				t.Errorf("words (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMatrix(t *testing.T) {
	m := exampleModel(t)
	x := m.Matrix([]*Pod{m.Pod("shop", "web"), m.Pod("shop", "db"), m.Pod("ops", "probe")}, corev1.ProtocolTCP, 5432)
	want := [][]Cell{
		{{Allowed: true}, {Allowed: true, Decided: []string{"shop/web-out", "shop/db"}}, {Decided: []string{"shop/web-out"}}},
		{{Decided: []string{"shop/deny-all"}}, {Allowed: true}, {Allowed: true}},
		{{Decided: []string{"shop/deny-all"}}, {Decided: []string{"shop/db", "shop/deny-all"}}, {Allowed: true}},
	}
	if diff := cmp.Diff(want, x.Cells); diff != "" {
		t.Errorf("cells (-want +got):\n%s", diff)
	}
}

// TestDump compares the whole model with testdata/example.golden; KL_UPDATE_GOLDEN=1 rewrites it.
func TestDump(t *testing.T) {
	got := exampleModel(t).String()
	const path = "testdata/example.golden"
	if os.Getenv("KL_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(readFile(t, path)), got); diff != "" {
		t.Errorf("model (-want +got):\n%s", diff)
	}
}

func exampleModel(t *testing.T) *Model {
	t.Helper()
	var o Objects
	o.load(t, readFile(t, "testdata/cluster.yaml"))
	o.load(t, readFile(t, "testdata/example.yaml"))
	return Compile(o, Options{Gateway: netip.MustParseAddr("10.245.0.1")})
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
