package balance

import (
	"bufio"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster"
)

// TestHandler serves the status socket and asks it as `kl expose` does.
func TestHandler(t *testing.T) {
	hub := newFakeHub("n1", "n2")
	f := newFixture(t, hub)
	home, err := os.MkdirTemp("", "kl") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	layout := cluster.Home(home).Cluster("c")
	if err := os.MkdirAll(filepath.Dir(layout.StatusSocket()), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", layout.StatusSocket())
	if err != nil {
		t.Fatal(err)
	}
	var h Handler
	mux := http.NewServeMux()
	h.Register(mux)
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: mux}}
	server.Start()
	t.Cleanup(server.Close)

	client := cluster.NewClient(layout)
	t.Cleanup(client.Close)
	refused := func(want string) {
		t.Helper()
		conn, err := client.DialBalancer(t.Context(), "d", "web", 80)
		if err == nil {
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("DialBalancer() = %v, want %q", err, want)
		}
	}
	refused("disabled, or not up yet")
	h.Serve(f.Balancer)
	refused("has no load balancer address")
	a, err := f.Addresses.Assign(testService("web", corev1.ServiceExternalTrafficPolicyCluster), netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	refused("no node holds " + a.String())
	f.announcer.apply(t.Context(), map[netip.Addr]string{a: "n2"}, []string{"n1", "n2"})

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/balancers", nil))
	var list []cluster.LoadBalancer
	if err := json.NewDecoder(w.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]cluster.LoadBalancer{{Namespace: "d", Name: "web", Address: a.String(), Node: "n2"}}, list); d != "" {
		t.Errorf("list (-want +got):\n%s", d)
	}

	refused("refused") // nothing listens on the node
	hub.set(func() { hub.healthy["n2"] = true })
	conn, err := client.DialBalancer(t.Context(), "d", "web", 80)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\nHost: web\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("answer through the load balancer: %v, %v", resp, err)
	}
}
