package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/policy"
)

// shop is a small cluster: web may be reached on its named port, db only by web, a job has ended.
const shop = `
objects:
  Namespaces:
  - {metadata: {name: shop, labels: {team: shop}}}
  - {metadata: {name: default}}
  Nodes:
  - {metadata: {name: n1}, spec: {podCIDR: 10.244.0.0/24}, status: {addresses: [{type: InternalIP, address: 172.18.0.2}]}}
  Pods:
  - metadata: {name: web-0, namespace: shop, labels: {app: web}}
    spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8080, protocol: TCP}]}]}
    status: {phase: Running, podIP: 10.244.0.2, podIPs: [{ip: 10.244.0.2}]}
  - metadata: {name: db-0, namespace: shop, labels: {app: db}}
    spec: {nodeName: n1, containers: [{name: c, ports: [{name: sql, containerPort: 5432, protocol: TCP}, {name: gossip, containerPort: 5432, protocol: UDP}]}]}
    status: {phase: Running, podIP: 10.244.0.3, podIPs: [{ip: 10.244.0.3}]}
  - {metadata: {name: job, namespace: shop}, spec: {nodeName: n1}, status: {phase: Succeeded, podIP: 10.244.0.4}}
  - {metadata: {name: proxy, namespace: shop}, spec: {nodeName: n1, hostNetwork: true}, status: {phase: Running, podIP: 172.18.0.2}}
  - {metadata: {name: new, namespace: shop}, status: {phase: Pending}}
  - {metadata: {name: client, namespace: default}, spec: {nodeName: n1}, status: {phase: Running, podIP: 10.244.0.5}}
  Policies:
  - metadata: {name: db, namespace: shop}
    spec:
      podSelector: {matchLabels: {app: db}}
      policyTypes: [Ingress, Egress]
      ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: sql}]}]
services:
- metadata: {name: db, namespace: shop}
  spec: {clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7], externalIPs: [192.0.2.7], ports: [{name: sql, port: 54, protocol: TCP}]}
  status: {loadBalancer: {ingress: [{ip: 172.18.255.200}]}}
- {metadata: {name: headless, namespace: shop}, spec: {clusterIP: None, clusterIPs: [None], ports: [{port: 54}]}}
- {metadata: {name: idle, namespace: shop}, spec: {ports: [{port: 80}]}}
endpoints:
- metadata: {name: db-1, namespace: shop, labels: {kubernetes.io/service-name: db}}
  ports: [{name: sql, port: 5432, protocol: TCP}]
  endpoints: [{addresses: [10.244.0.3]}, {addresses: [10.244.0.9], conditions: {ready: false}}]
`

func shopResolver(t *testing.T) resolver {
	t.Helper()
	var o struct {
		Objects   json.RawMessage
		Services  json.RawMessage
		Endpoints json.RawMessage
	}
	if err := yaml.UnmarshalStrict([]byte(shop), &o); err != nil {
		t.Fatal(err)
	}
	r := resolver{namespace: "shop", options: policy.Options{Gateway: netip.MustParseAddr("10.245.0.1")}}
	for _, part := range []struct {
		data json.RawMessage
		to   any
	}{{o.Objects, &r.objects}, {o.Services, &r.services}, {o.Endpoints, &r.endpoints}} {
		if err := json.Unmarshal(part.data, part.to); err != nil {
			t.Fatal(err)
		}
	}
	r.model = policy.Compile(r.objects, r.options)
	return r
}

func TestPolicyExplainConnection(t *testing.T) {
	for _, tt := range []struct {
		name, pod string
		flags     explainFlags
		want      []string // "from → to protocol port: true", or the error with its hint
	}{
		{"a named port", "web-0", explainFlags{to: "db-0", port: "sql"}, []string{"shop/web-0 → shop/db-0 TCP 5432: true"}},
		{"a number stands for all protocols it is declared for", "web-0", explainFlags{to: "db-0", port: "5432"},
			[]string{"shop/web-0 → shop/db-0 TCP 5432: true", "shop/web-0 → shop/db-0 UDP 5432: false"}},
		{"one protocol", "web-0", explainFlags{to: "pod/db-0", port: "5432/udp"}, []string{"shop/web-0 → shop/db-0 UDP 5432: false"}},
		{"an undeclared port", "web-0", explainFlags{to: "db-0", port: "22"}, []string{"shop/web-0 → shop/db-0 TCP 22: false"}},
		{"all ports", "default/client", explainFlags{to: "web-0"}, []string{"default/client → shop/web-0 TCP 8080: true"}},
		{"by address", "web-0", explainFlags{to: "10.244.0.3", port: "sql"}, []string{"shop/web-0 → shop/db-0 TCP 5432: true"}},
		{"a Service stands for its ready pods", "web-0", explainFlags{to: "svc/db.shop", port: "54"}, []string{"shop/web-0 → shop/db-0 TCP 5432: true"}},
		{"a Service's address", "web-0", explainFlags{to: "10.96.0.7", port: "54"}, []string{"shop/web-0 → shop/db-0 TCP 5432: true"}},
		{"a Service's address, denied", "default/client", explainFlags{to: "10.96.0.7", port: "54"}, []string{"default/client → shop/db-0 TCP 5432: false"}},
		{"an external address", "default/client", explainFlags{to: "192.0.2.7"}, []string{"default/client → shop/db-0 TCP 5432: false"}},
		{"a load balancer's address", "web-0", explainFlags{to: "172.18.255.200"}, []string{"shop/web-0 → shop/db-0 TCP 5432: true"}},
		{"a port that the Service lacks", "web-0", explainFlags{to: "10.96.0.7", port: "5432"},
			[]string{"find port 5432 of svc/db.shop: not found; ports are: 54 = sql = 5432/TCP"}},
		{"from a Service's pods", "web-0", explainFlags{from: "svc/db", port: "http"}, []string{"shop/db-0 → shop/web-0 TCP 8080: false"}},
		{"from outside", "db-0", explainFlags{from: "192.0.2.1", port: "sql"}, []string{"192.0.2.1 → shop/db-0 TCP 5432: false"}},
		{"from its node", "db-0", explainFlags{from: "node/n1", port: "sql"}, []string{"node/n1 → shop/db-0 TCP 5432: true"}},
		{"the gateway counts as outside", "db-0", explainFlags{to: "gateway", port: "6443"}, []string{"shop/db-0 → gateway TCP 6443: false"}},
		{"no such pod, same name elsewhere", "client", explainFlags{to: "db-0"}, []string{"find pod shop/client: not found; did you mean default/client?"}},
		{"the name of a Deployment", "web", explainFlags{}, []string{"find pod shop/web: not found; did you mean shop/web-0?"}},
		{"no such pod", "nobody", explainFlags{}, []string{"find pod shop/nobody: not found; in namespace shop there are db-0, job, new, proxy, web-0"}},
		{"no such namespace", "nowhere/x", explainFlags{}, []string{"find pod nowhere/x: not found; there are no pods in namespace nowhere; use NAMESPACE/NAME or -n"}},
		{"no such node", "web-0", explainFlags{to: "node/n9", port: "1"}, []string{"find node/n9: the cluster has no such node; see 'kl kubectl get nodes'"}},
		{"no such Service", "web-0", explainFlags{to: "svc/x"}, []string{"find Service shop/x: not found; there are svc/db.shop, svc/headless.shop, svc/idle.shop"}},
		{"a Service without pods", "web-0", explainFlags{to: "svc/idle"},
			[]string{"check Service shop/idle: the Service has no ready pods; see 'kl kubectl describe service -n shop idle'"}},
		{"a pod that has ended", "web-0", explainFlags{to: "job", port: "1"}, []string{"check pod shop/job: the pod has ended (Succeeded)"}},
		{"a pod without an address", "web-0", explainFlags{to: "new", port: "1"}, []string{"check pod shop/new: the pod has no address yet (Pending)"}},
		{"no such port", "web-0", explainFlags{to: "db-0", port: "https"},
			[]string{"find port https of shop/db-0: not found; ports are: sql = 5432/TCP, gossip = 5432/UDP"}},
		{"no such port of a Service", "web-0", explainFlags{to: "svc/db", port: "5432"}, []string{"find port 5432 of svc/db.shop: not found; ports are: 54 = sql = 5432/TCP"}},
		{"no port known", "web-0", explainFlags{to: "192.0.2.1"},
			[]string{"check a connection to 192.0.2.1: no ports are declared; use --port with a number, such as 8080 or 53/UDP"}},
		{"a wrong protocol", "web-0", explainFlags{to: "db-0", port: "80/icmp"}, []string{"--port 80/icmp: the protocol is not TCP, UDP or SCTP"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := shopResolver(t)
			answer, err := r.explain(tt.pod, tt.flags)
			var got []string
			for _, v := range answer.Connections {
				got = append(got, v.From+" → "+v.To+" "+portWord(v.Protocol, v.Port)+": "+map[bool]string{true: "true", false: "false"}[v.Allowed])
			}
			if err != nil {
				got = []string{err.Error()}
				var e *cluster.Error
				if errors.As(err, &e) && e.Hint != "" {
					got[0] += "; " + e.Hint
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPolicyExplainWords(t *testing.T) {
	for _, tt := range []struct {
		name, pod string
		flags     explainFlags
		want      string
	}{
		{"isolated", "db-0", explainFlags{}, `shop/db-0  10.244.0.3  on n1

ingress: isolated, may be reached from
  pods with app=web in namespace shop, on port "sql" (TCP), by shop/db rule 1

egress: isolated, may reach
  nothing, by shop/db

Connections between the pod and node/n1 are always allowed.
`},
		{"not isolated", "web-0", explainFlags{}, `shop/web-0  10.244.0.2  on n1

ingress: not isolated, may be reached from anywhere

egress: not isolated, may reach anywhere

Connections between the pod and node/n1 are always allowed.
`},
		{"ended", "job", explainFlags{}, "shop/job: the pod has ended (Succeeded), so no policy applies\n"},
		{"host network", "proxy", explainFlags{}, "shop/proxy: the pod uses its node's network: no policy can select it, and peers see the node's address\n"},
		{"denied", "default/client", explainFlags{to: "db-0", port: "sql"}, `default/client (10.244.0.5) → shop/db-0 (10.244.0.3)  TCP 5432: denied
  egress   no policy selects default/client for egress
  ingress  shop/db-0 is isolated for ingress by shop/db, and no rule allows default/client TCP port 5432
           shop/db allows pods with app=web in namespace shop, on port "sql" (TCP)
`},
		{"allowed", "web-0", explainFlags{to: "db-0", port: "sql"}, `shop/web-0 (10.244.0.2) → shop/db-0 (10.244.0.3)  TCP 5432: allowed
  egress   no policy selects shop/web-0 for egress
  ingress  policy shop/db allows it: ingress rule 1 (pods with app=web in namespace shop, port "sql" = TCP/5432)
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := shopResolver(t)
			answer, err := r.explain(tt.pod, tt.flags)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if answer.Connections == nil {
				err = printIsolation(&b, answer)
			} else {
				err = r.printConnections(&b, answer.Connections)
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDenialPrinter(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.Local)
	denial := func(node string, after time.Duration, from, to string) policy.Denial {
		return policy.Denial{
			Time: at.Add(after), Node: node, From: from, To: to, Protocol: "TCP", Port: 80,
			Direction: policy.Ingress, Policies: []string{"shop/db", "shop/all"}, Reason: "because",
		}
	}
	first := denial("n1", 0, "shop/web-0", "shop/db-0")
	unknown := denial("n1", time.Second, "x/db-0", "192.0.2.1")
	unknown.Policies, unknown.Protocol, unknown.Port, unknown.Direction = nil, "ICMP", 0, policy.Egress
	all := []policy.Denial{first, first, denial("n2", 0, "shop/web-0", "y/z"), unknown}
	const lines = `2026-01-02 03:04:05.006  n1  shop/web-0 → shop/db-0  TCP 80  ingress denied by shop/db, shop/all
2026-01-02 03:04:05.006  n2  shop/web-0 → y/z  TCP 80  ingress denied by shop/db, shop/all
2026-01-02 03:04:06.006  n1  x/db-0 → 192.0.2.1  ICMP  egress denied: because
`
	line := strings.SplitAfter(lines, "\n")
	for _, tt := range []struct {
		name  string
		flags policyLogFlags
		want  string
	}{
		{"each denial once", policyLogFlags{}, lines},
		{"of a namespace", policyLogFlags{namespace: "y"}, line[1]},
		{"of a pod of any namespace", policyLogFlags{pod: "db-0"}, line[0] + line[2]},
		{"of one pod", policyLogFlags{pod: "x/db-0"}, line[2]},
		{"of no pod", policyLogFlags{pod: "b-0"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			p := denialPrinter{w: &b, flags: tt.flags, newest: map[string]time.Time{}}
			for _, d := range all {
				if err := p.print(d); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCounterRows(t *testing.T) {
	got := counterRows([]policy.Counters{
		{Policies: []policy.Counter{{Policy: "b/x", Direction: policy.Egress, Allowed: 1, Denied: 2}}},
		{Policies: []policy.Counter{
			{Policy: "b/x", Direction: policy.Egress, Allowed: 10, Denied: 20}, {Policy: "b/x", Direction: policy.Ingress}, {Policy: "a/x", Direction: policy.Egress},
		}},
	})
	want := [][]string{
		{"POLICY", "DIRECTION", "ALLOWED CONNECTIONS", "DENIED PACKETS"},
		{"a/x", "egress", "0", "0"}, {"b/x", "ingress", "0", "0"}, {"b/x", "egress", "11", "22"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnenforced(t *testing.T) {
	s := cluster.DefaultSpec()
	if err := unenforced(s); err != nil {
		t.Error(err)
	}
	s.Disable = []cluster.Feature{cluster.FeatureNetworkPolicy}
	if err := unenforced(s); err == nil || !strings.Contains(err.Error(), "disable: [networkPolicy]") {
		t.Error(err)
	}
	s.Networking.CNI = "none"
	if err := unenforced(s); err == nil || !strings.Contains(err.Error(), "networking.cni") {
		t.Error(err)
	}
}
