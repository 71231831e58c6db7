package metrics

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/latest"
	"github.com/klkube/kl/cluster/pki"
	"github.com/klkube/kl/embedded/controlplane/identity"
	"github.com/klkube/kl/embedded/controlplane/manifests"
	"github.com/klkube/kl/embedded/controlplane/nodewatch"
	"github.com/klkube/kl/embedded/tunnel"
)

// fakeAPI is an API server with one ready node, which authorizes everything. It notes what is applied and deleted as
// "apply KIND" and "delete resource/name".
type fakeAPI struct {
	changes *latest.Value[[]string]
	objects *latest.Value[map[string]*unstructured.Unstructured] // by kind
	theirs  string                                               // answer to a GET of Service metrics-server; empty for 404
}

func (a *fakeAPI) note(change string) {
	a.changes.Update(func(list []string) ([]string, bool) { return append(slices.Clone(list), change), true })
}

func (a *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	answer := func(code int, body string) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body) // fails if the client has gone
	}
	const list = `"metadata":{"resourceVersion":"1"},"items":[`
	switch q := r.URL.Query(); {
	case r.Method == http.MethodPatch:
		data, err := io.ReadAll(r.Body)
		o := &unstructured.Unstructured{}
		if err == nil {
			err = o.UnmarshalJSON(data)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.objects.Update(func(m map[string]*unstructured.Unstructured) (map[string]*unstructured.Unstructured, bool) {
			next := map[string]*unstructured.Unstructured{o.GetKind(): o}
			for k, v := range m {
				if next[k] == nil {
					next[k] = v
				}
			}
			return next, true
		})
		a.note("apply " + o.GetKind())
		answer(http.StatusOK, string(data))
	case r.Method == http.MethodDelete:
		parts := strings.Split(r.URL.Path, "/")
		a.note("delete " + strings.Join(parts[len(parts)-2:], "/"))
		answer(http.StatusOK, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
	case strings.HasSuffix(r.URL.Path, "/subjectaccessreviews"):
		answer(http.StatusCreated, `{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1","status":{"allowed":true}}`)
	case q.Get("sendInitialEvents") != "": // not a server that streams lists
		answer(http.StatusUnprocessableEntity, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
	case q.Get("watch") != "":
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush() // fails if the client has gone
		<-r.Context().Done()
	case a.theirs != "" && strings.HasSuffix(r.URL.Path, "/services/metrics-server"):
		answer(http.StatusOK, a.theirs)
	case r.URL.Path == "/api/v1/nodes":
		answer(http.StatusOK, `{"kind":"NodeList","apiVersion":"v1",`+list+
			`{"metadata":{"name":"n1"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}]}`)
	case r.URL.Path == "/api/v1/pods":
		answer(http.StatusOK, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1",`+list+`]}`)
	default:
		answer(http.StatusNotFound, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
	}
}

// serveAPI starts the API with a certificate of the cluster, and returns its administrator's configuration.
func serveAPI(t *testing.T, a *fakeAPI, layout cluster.Layout) *rest.Config {
	t.Helper()
	id, err := identity.New(layout.PKI("ca.crt"), layout.PKI("ca.key"), identity.Request{User: "system:api", Service: "kubernetes"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(id.Cert, id.Key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(a)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{
		CAFile: layout.PKI("ca.crt"), CertFile: layout.PKI("admin.crt"), KeyFile: layout.PKI("admin.key"),
	}}
}

// TestServer runs the server from its start to its stop: rights come before the API is announced, requests reach it through
// the tunnel, and when it stops, the API is withdrawn before what it needs.
func TestServer(t *testing.T) {
	layout := cluster.Home(t.TempDir()).Cluster("c")
	if err := pki.Ensure(layout, cluster.DefaultSpec().Networking, time.Now()); err != nil {
		t.Fatal(err)
	}
	a := &fakeAPI{changes: latest.New[[]string](nil), objects: latest.New[map[string]*unstructured.Unstructured](nil)}
	hub := &tunnel.Hub{Router: &tunnel.Routes{}, Gateway: netip.MustParseAddr(cluster.DefaultGateway), Logger: slog.New(slog.DiscardHandler)}
	api := serveAPI(t, a, layout)
	client, err := kubernetes.NewForConfig(api)
	if err != nil {
		t.Fatal(err)
	}
	nodes := nodewatch.New(client)
	s := &Server{Layout: layout, Gateway: cluster.DefaultGateway, Admin: api, Hub: hub, Nodes: nodes, Logger: slog.New(slog.DiscardHandler)}
	reports := make(chan error, 10)
	s.Report(func(err error) { reports <- err })
	ctx, cancel := context.WithCancel(t.Context())
	ready, done, watching := make(chan struct{}), make(chan error, 1), make(chan error, 1)
	go func() { watching <- nodes.Run(ctx, func() {}) }()
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	<-ready
	select {
	case err := <-reports:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the API is not announced; changes %v", a.changes.Load())
	}
	applied := a.changes.Load()
	if first := slices.IndexFunc(applied, func(c string) bool { return !strings.Contains(c, "ClusterRole") }); first != 4 || !slices.Contains(applied, "apply APIService") {
		t.Errorf("applied %v, want the four rights first", applied)
	}

	port, _, err := unstructured.NestedSlice(a.objects.Load()["EndpointSlice"].Object, "ports")
	if err != nil || len(port) != 1 {
		t.Fatalf("endpoint has ports %v, %v", port, err)
	}
	number, _ := port[0].(map[string]any)["port"].(int64)
	address := netip.AddrPortFrom(hub.Gateway, uint16(number)).String()
	if code := get(t, hub, address, nil); code != http.StatusUnauthorized {
		t.Errorf("anonymous request: code %d, want 401", code)
	}
	admin, err := tls.LoadX509KeyPair(layout.PKI("admin.crt"), layout.PKI("admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	if code := get(t, hub, address, []tls.Certificate{admin}); code != http.StatusOK {
		t.Errorf("request of the administrator: code %d, want 200", code)
	}

	cancel()
	<-watching
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run() = %v, want a clean stop", err)
	}
	want := []string{"delete apiservices/v1beta1.metrics.k8s.io", "delete endpointslices/metrics-server-kl", "delete services/metrics-server"}
	if d := cmp.Diff(want, a.changes.Load()[len(applied):]); d != "" {
		t.Errorf("changes at the stop (-want +got):\n%s", d)
	}
	if conn, err := hub.DialAddress(t.Context(), "tcp", address); err == nil {
		conn.Close()
		t.Error("the port is still published")
	}
}

// get requests the list of resources through the tunnel and returns the status code.
func get(t *testing.T, hub *tunnel.Hub, address string, certificates []tls.Certificate) int {
	t.Helper()
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return hub.DialAddress(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, // the name is that of a Service; package identity tests the certificate
			Certificates:       certificates,
		},
		DisableKeepAlives: true,
	}}
	resp, err := client.Get("https://metrics/apis/metrics.k8s.io/v1beta1")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestServerLeavesAnother runs the server in a cluster whose user has installed a metrics-server: nothing is written.
func TestServerLeavesAnother(t *testing.T) {
	layout := cluster.Home(t.TempDir()).Cluster("c")
	if err := pki.Ensure(layout, cluster.DefaultSpec().Networking, time.Now()); err != nil {
		t.Fatal(err)
	}
	a := &fakeAPI{
		changes: latest.New[[]string](nil), objects: latest.New[map[string]*unstructured.Unstructured](nil),
		theirs: `{"apiVersion":"v1","kind":"Service","metadata":{"name":"metrics-server","namespace":"kube-system","managedFields":[{"manager":"helm"}]}}`,
	}
	s := &Server{Layout: layout, Gateway: cluster.DefaultGateway, Admin: serveAPI(t, a, layout), Logger: slog.New(slog.DiscardHandler)}
	reports := make(chan error, 10)
	s.Report(func(err error) { reports <- err })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func() {}) }()
	if err := <-reports; !errors.Is(err, manifests.ErrForeign) || !strings.Contains(err.Error(), "Service metrics-server") {
		t.Errorf("reported %v, want the Service that is not kl's", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run() = %v, want a clean stop", err)
	}
	if changes := a.changes.Load(); len(changes) > 0 {
		t.Errorf("changed %q", changes)
	}
}

// TestServerReportsFailures runs the server with an authority that is missing: Run goes on and says why.
func TestServerReportsFailures(t *testing.T) {
	s := &Server{Layout: cluster.Home(t.TempDir()).Cluster("c"), Admin: &rest.Config{}, Logger: slog.New(slog.DiscardHandler)}
	reports := make(chan error, 1)
	s.Report(func(err error) { reports <- err })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func() {}) }()
	if err := <-reports; err == nil || !strings.Contains(err.Error(), "ca.crt") {
		t.Errorf("reported %v, want the missing authority", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run() = %v, want a clean stop", err)
	}
}
