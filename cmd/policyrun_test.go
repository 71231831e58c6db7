package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/policy"
)

// policed returns a machine with a cluster kl of the nodes n1 and n2, which have denied connections, and n3, which is not
// connected. Denials sent to news are streamed by n2.
func policed(t *testing.T, news <-chan policy.Denial) *machine {
	t.Helper()
	m := newMachine(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	kept := map[string][]policy.Denial{
		"n1": {{Seq: 1, Time: at.Add(time.Second), Node: "n1", From: "shop/web", To: "shop/db", Protocol: "TCP", Port: 5432, Direction: policy.Ingress, Policies: []string{"shop/db"}, Reason: "because"}},
		"n2": {{Seq: 7, Time: at, Node: "n2", From: "default/x", To: "gateway", Protocol: "TCP", Port: 6443, Direction: policy.Egress, Policies: []string{"default/x"}}},
	}
	plane := http.NewServeMux()
	plane.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		s := cluster.Status{Nodes: []cluster.NodeStatus{{Name: "n1", Connected: true}, {Name: "n2", Connected: true}, {Name: "n3"}}}
		_ = json.NewEncoder(w).Encode(s)
		if r.URL.Query().Has("watch") {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	})
	plane.HandleFunc("GET /v1/nodes/{node}"+policy.DenialsPath, func(w http.ResponseWriter, r *http.Request) {
		lines := json.NewEncoder(w)
		for _, d := range kept[r.PathValue("node")] {
			_ = lines.Encode(d)
		}
		for r.URL.Query().Has("watch") {
			w.(http.Flusher).Flush()
			var next <-chan policy.Denial
			if r.PathValue("node") == "n2" {
				next = news
			}
			select {
			case d := <-next:
				_ = lines.Encode(d)
			case <-r.Context().Done():
				return
			}
		}
	})
	plane.HandleFunc("GET /v1/nodes/{node}"+policy.CountersPath, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(policy.Counters{
			Policies: []policy.Counter{{Policy: "shop/db", Direction: policy.Ingress, Allowed: 3, Denied: 1}},
		})
	})
	serveStatus(t, m.env.Home.Cluster("kl"), plane)
	return m
}

const deniedOnN1 = "2026-01-02 03:04:06.000  n1  shop/web → shop/db  TCP 5432  ingress denied by shop/db\n"

func TestPolicyLog(t *testing.T) {
	m := policed(t, nil)
	const onN2 = "2026-01-02 03:04:05.000  n2  default/x → gateway  TCP 6443  egress denied by default/x\n"
	if diff := cmp.Diff(onN2+deniedOnN1, m.must("policy", "log")); diff != "" {
		t.Errorf("all nodes, oldest first (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(deniedOnN1, m.must("policy", "log", "--pod", "db")); diff != "" {
		t.Errorf("--pod db (-want +got):\n%s", diff)
	}
	var d policy.Denial
	decode(t, m.must("policy", "log", "-n", "shop", "-o", "json"), &d)
	if d.Reason != "because" || d.Seq != 1 {
		t.Errorf("-o json prints %+v", d)
	}
	stdout, stderr, code := m.run("policy", "log", "-n", "empty")
	if code != exitOK || stdout != "" || stderr != "No connection was denied.\n" {
		t.Errorf("no denials: exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestPolicyLogFollow(t *testing.T) {
	news := make(chan policy.Denial)
	m := policed(t, news)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	e := m.env
	e.Out, e.Err = w, io.Discard
	ended := make(chan error, 1)
	go func() {
		ended <- policyLog(ctx, newEnv(e), policyLogFlags{follow: true, namespace: "shop"})
	}()
	lines := bufio.NewReader(r)
	expect := func(want string) {
		t.Helper()
		if line, err := lines.ReadString('\n'); err != nil || line != want {
			t.Fatalf("printed %q, error %v, want %q", line, err, want)
		}
	}
	expect(deniedOnN1)
	later := policy.Denial{
		Seq: 8, Time: time.Date(2026, 1, 2, 4, 0, 0, 0, time.Local), Node: "n2", From: "shop/web", To: "192.0.2.1",
		Protocol: "UDP", Port: 53, Direction: policy.Egress, Policies: []string{"shop/web"},
	}
	const line = "2026-01-02 04:00:00.000  n2  shop/web → 192.0.2.1  UDP 53  egress denied by shop/web\n"
	news <- later
	expect(line)
	news <- later // told again, so not printed again
	later.Time = later.Time.Add(time.Minute)
	news <- later
	expect(strings.Replace(line, "04:00", "04:01", 1))
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("after the end of the context: %v", err)
	}
}

// TestPolicyLogFollowStopsAtWriteErrors checks that following ends when nobody reads the output any more.
func TestPolicyLogFollowStopsAtWriteErrors(t *testing.T) {
	news := make(chan policy.Denial)
	m := policed(t, news)
	r, w := io.Pipe()
	e := m.env
	e.Out, e.Err = w, io.Discard
	ended := make(chan error, 1)
	go func() { ended <- policyLog(t.Context(), newEnv(e), policyLogFlags{follow: true, pod: "new"}) }()
	r.Close()
	news <- policy.Denial{Time: time.Now(), Node: "n2", From: "shop/new", To: "shop/db"}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "print denial") {
		t.Errorf("error %v", err)
	}
}

func TestPolicyCounters(t *testing.T) {
	m := policed(t, nil)
	const want = "POLICY    DIRECTION   ALLOWED CONNECTIONS   DENIED PACKETS\nshop/db   ingress     6                     2\n"
	if diff := cmp.Diff(want, m.must("policy", "counters")); diff != "" {
		t.Errorf("sums of both nodes (-want +got):\n%s", diff)
	}
	var all []policy.Counters
	decode(t, m.must("policy", "counters", "-o", "json"), &all)
	if len(all) != 2 || all[0].Policies[0].Allowed != 3 {
		t.Errorf("-o json prints %+v", all)
	}
}

// TestPolicyExplainCommand runs the command against an API with the objects of shop.
func TestPolicyExplainCommand(t *testing.T) {
	var o struct {
		Objects   map[string]json.RawMessage
		Services  json.RawMessage
		Endpoints json.RawMessage
	}
	if err := yaml.Unmarshal([]byte(shop), &o); err != nil {
		t.Fatal(err)
	}
	api := http.NewServeMux()
	for path, list := range map[string]struct {
		kind  string
		items json.RawMessage
	}{
		"/api/v1/pods":       {"PodList", o.Objects["Pods"]},
		"/api/v1/namespaces": {"NamespaceList", o.Objects["Namespaces"]},
		"/api/v1/nodes":      {"NodeList", o.Objects["Nodes"]},
		"/api/v1/services":   {"ServiceList", o.Services},
		"/apis/networking.k8s.io/v1/networkpolicies": {"NetworkPolicyList", o.Objects["Policies"]},
		"/apis/discovery.k8s.io/v1/endpointslices":   {"EndpointSliceList", o.Endpoints},
	} {
		version := strings.Trim(strings.TrimPrefix(path[:strings.LastIndex(path, "/")], "/apis"), "/")
		version = strings.TrimPrefix(version, "api/")
		api.HandleFunc("GET /kl-kl"+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"apiVersion": %q, "kind": %q, "items": %s}`, version, list.kind, list.items)
		})
	}
	api.HandleFunc("GET /kl-kl/api/v1/namespaces/shop/pods", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "web-0", "namespace": "shop"}}]}`)
	})
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	m := newMachine(t)
	l := m.env.Home.Cluster("kl")
	writeKubeconfig(t, l.Kubeconfig(), server.URL, "kl-kl")
	serveStatus(t, l, http.NotFoundHandler())

	out := m.must("policy", "explain", "web-0", "-n", "shop", "--to", "db-0", "--port", "sql")
	if !strings.HasPrefix(out, "shop/web-0 (10.244.0.2) → shop/db-0 (10.244.0.3)  TCP 5432: allowed\n") {
		t.Errorf("explain prints:\n%s", out)
	}
	var answer explanation
	decode(t, m.must("policy", "explain", "db-0", "-n", "shop", "-o", "json"), &answer)
	if answer.Pod != "shop/db-0" || answer.Ingress == nil || !answer.Ingress.Isolated || answer.Ingress.Policies[0].Policy != "shop/db" {
		t.Errorf("explain -o json prints %+v", answer)
	}
	for args, want := range map[string]string{
		"policy explain -n shop ":                      "web-0\n:4\n",
		"policy explain ":                              "shop/web-0\nshop/db-0\nshop/job\nshop/proxy\nshop/new\nclient\n:4\n",
		"policy explain web-0 --to ":                   "shop/web-0\nshop/db-0\nshop/job\nshop/proxy\nshop/new\nclient\n:4\n",
		"policy log --namespace ":                      "shop\ndefault\n:4\n",
		"policy explain web-0 --context missing --to ": ":1\n",
	} {
		if out := m.must(append([]string{"__complete"}, strings.Split(args, " ")...)...); out != want {
			t.Errorf("completion of %q: %q, want %q", args, out, want)
		}
	}
}
