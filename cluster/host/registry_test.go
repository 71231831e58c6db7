package host_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/registry"
)

// TestRegistryOutlivesClusters: what was pushed is there after the last cluster has gone, until all is removed. A registry that nothing
// was pushed to goes with that cluster.
func TestRegistryOutlivesClusters(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	store := registry.Open(b.Home)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- store.Serve(ctx, 20_000) }()
	for end := time.Now().Add(10 * time.Second); store.Port() == 0 && time.Now().Before(end); {
		<-time.After(10 * time.Millisecond)
	}
	info, err := b.Inspect(t.Context(), "demo")
	must(t, err)
	if !strings.HasPrefix(info.Registry, "localhost:20") {
		t.Errorf("the registry is said to be at %q", info.Registry)
	}
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	down := func() {
		t.Helper()
		if _, err := b.Down(t.Context(), "demo"); err != nil {
			t.Fatal(err)
		}
	}
	down()
	if _, err := os.Stat(b.Home.RegistryDir()); !os.IsNotExist(err) {
		t.Errorf("the last cluster left a registry without images: %v", err)
	}
	b.mustUp(t, request(1))
	send := func(method, path, body string) int {
		r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
		w := httptest.NewRecorder()
		store.Handler().ServeHTTP(w, r)
		return w.Code
	}
	const empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // of {}
	const manifest = `{"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` + empty + `","size":2},"layers":[]}`
	if send("POST", "/v2/app/blobs/uploads/?digest="+empty, "{}") != http.StatusCreated || send("PUT", "/v2/app/manifests/1", manifest) != http.StatusCreated {
		t.Fatal("cannot push")
	}
	down()
	if code := send("GET", "/v2/app/manifests/1", ""); code != http.StatusOK {
		t.Errorf("after the last cluster has gone, an image that was pushed gives %d", code)
	}
	must(t, b.Purge(t.Context(), []cluster.DriverName{}))
	if _, err := os.Stat(b.Home.RegistryDir()); !os.IsNotExist(err) {
		t.Errorf("the registry is left: %v", err)
	}
}
