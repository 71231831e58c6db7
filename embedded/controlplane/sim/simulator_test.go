package sim

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/klkube/kl/embedded/controlplane/nodewatch"
)

// fakeAPI is an API server without objects, that records requests as "METHOD path".
type fakeAPI struct {
	mu       sync.Mutex
	requests []string
	nodes    string // items of the list of nodes, JSON
}

func (a *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.requests = append(a.requests, r.Method+" "+r.URL.Path)
	nodes := a.nodes
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch q := r.URL.Query(); {
	case r.URL.Path != "/api/v1/nodes" || q.Get("sendInitialEvents") != "": // not a server that streams lists
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`, http.StatusUnprocessableEntity)
	case q.Get("watch") != "":
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush() // fails if the client has gone
		<-r.Context().Done()
	default:
		_, _ = w.Write([]byte(`{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[` + nodes + `]}`))
	}
}

func (a *fakeAPI) asked(request string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests {
		if strings.HasPrefix(r, request) {
			return true
		}
	}
	return false
}

func simulator(t *testing.T, a *fakeAPI) *Simulator {
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: server.URL}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c"}
	config.CurrentContext = "c"
	path := t.TempDir() + "/kubeconfig"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	api := &rest.Config{Host: server.URL}
	client, err := kubernetes.NewForConfig(api)
	if err != nil {
		t.Fatal(err)
	}
	nodes := nodewatch.New(client)
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); running.Wait() })
	running.Go(func() { _ = nodes.Run(ctx, func() {}) })
	return &Simulator{Config: api, Kubeconfig: path, Nodes: nodes, Logger: slog.New(slog.DiscardHandler)}
}

// A cluster without simulated nodes is ready at once, and nothing is installed.
func TestRunWithoutNodes(t *testing.T) {
	a := &fakeAPI{nodes: `{"metadata":{"name":"n1"}}`}
	s := simulator(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	<-ready
	for !a.asked("GET /api/v1/nodes") {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run() = %v, want a clean stop", err)
	}
	if a.asked("POST ") {
		t.Errorf("requests are %v, want no writes", a.requests)
	}
}

// The first simulated node makes it install the Stage resource; an API that refuses is an error.
func TestRunWithANode(t *testing.T) {
	a := &fakeAPI{nodes: `{"metadata":{"name":"sim-1","labels":{"type":"kwok"}}}`}
	err := simulator(t, a).Run(t.Context(), func() {})
	if err == nil || !strings.Contains(err.Error(), "install Stage definition") {
		t.Errorf("Run() = %v, want that the definition cannot be installed", err)
	}
	if !a.asked("POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions") {
		t.Errorf("requests are %v, want one that creates the definition", a.requests)
	}
}

func TestController(t *testing.T) {
	s := simulator(t, &fakeAPI{})
	if _, err := s.controller(nil); err != nil {
		t.Errorf("controller() = %v", err)
	}
	s.Kubeconfig = t.TempDir() + "/none"
	if _, err := s.controller(nil); err == nil {
		t.Error("controller() succeeded without a kubeconfig")
	}
}
