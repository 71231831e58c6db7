package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/registry"
	served "github.com/klkube/kl/embedded/controlplane/registry"
)

// fakeAPI is an API server with one object: what announces a registry.
type fakeAPI struct {
	mu      sync.Mutex
	object  string // JSON; empty for none
	changes []string
	reads   int
}

func (a *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/api/v1/namespaces/kube-public/configmaps/local-registry-hosting" {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	switch r.Method {
	case http.MethodGet:
		a.reads++
		if a.object == "" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
			return
		}
	case http.MethodPatch:
		data, _ := io.ReadAll(r.Body)
		a.object = strings.Replace(string(data), `"metadata":{`, `"metadata":{"managedFields":[{"manager":"kl"}],`, 1)
		a.changes = append(a.changes, "apply")
	case http.MethodDelete:
		a.object, a.changes = "", append(a.changes, "delete")
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
		return
	}
	_, _ = io.WriteString(w, a.object)
}

func (a *fakeAPI) state() (object string, changes string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.object, fmt.Sprint(a.changes)
}

// start runs a server for an API until stop is called.
func start(t *testing.T, a *fakeAPI, home cluster.Home, port int) (store *registry.Store, stop func()) {
	t.Helper()
	api := httptest.NewServer(a)
	t.Cleanup(api.Close)
	store = registry.Open(home)
	s := &served.Server{Store: store, Port: port, Admin: &rest.Config{Host: api.URL}, Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	<-ready
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Run returned %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return store, stop
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; <-time.After(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func announces(a *fakeAPI, port int) func() error {
	return func() error {
		object, changes := a.state()
		if want := fmt.Sprintf(`host: \"localhost:%d\"`, port); port == 0 || !strings.Contains(object, want) {
			return fmt.Errorf("the API has %s after %s, want %s", object, changes, want)
		}
		return nil
	}
}

// TestServer has two clusters of a home announce the registry, which one of them serves, and the other one when that stops: at another
// port, since another program has taken the first.
func TestServer(t *testing.T) {
	home := cluster.Home(t.TempDir())
	first, second := &fakeAPI{}, &fakeAPI{}
	port := freePort(t)
	store, stop := start(t, first, home, port)
	eventually(t, "the first cluster announces", func() error { return announces(first, store.Port())() })
	start(t, second, home, port)
	eventually(t, "the second cluster announces", announces(second, store.Port()))
	if store.Port() != port {
		t.Fatalf("the registry is at port %d, want %d", store.Port(), port)
	}
	stop()
	eventually(t, "the second cluster serves", func() error {
		r, err := http.Get(fmt.Sprintf("http://localhost:%d/v2/", port)) //nolint:noctx // of this machine
		if err == nil {
			err = r.Body.Close()
		}
		return err
	})
	second.mu.Lock()
	third := &fakeAPI{object: second.object}
	second.mu.Unlock()
	start(t, third, home, 0)
	eventually(t, "a cluster without a registry announces none", func() error {
		if object, changes := third.state(); object != "" {
			return fmt.Errorf("after %s, there is %s", changes, object)
		}
		return nil
	})
}

// TestPortMoves announces the new port when the registry has moved.
func TestPortMoves(t *testing.T) {
	home := cluster.Home(t.TempDir())
	api, port := &fakeAPI{}, freePort(t)
	store, stop := start(t, api, home, port)
	eventually(t, "the port is announced", announces(api, port))
	stop()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // of this machine
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	store, _ = start(t, api, home, port)
	eventually(t, "another port is announced", func() error {
		if store.Port() == port {
			return errors.New("the port is the same")
		}
		return announces(api, store.Port())()
	})
}

// TestForeign leaves a user's own announcement alone, whether kl's registry is on or off.
func TestForeign(t *testing.T) {
	const theirs = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"local-registry-hosting","namespace":"kube-public","managedFields":[{"manager":"kubectl"}]}}`
	for _, port := range []int{0, freePort(t)} {
		api := &fakeAPI{object: theirs}
		_, stop := start(t, api, cluster.Home(t.TempDir()), port)
		eventually(t, "the server looks", func() error {
			api.mu.Lock()
			defer api.mu.Unlock()
			if api.reads == 0 {
				return errors.New("it has not asked what is there")
			}
			return nil
		})
		stop()
		if object, changes := api.state(); object != theirs || changes != "[]" {
			t.Errorf("the API has %s after %s", object, changes)
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // of this machine
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
