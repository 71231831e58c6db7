package dns

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// A probe that comes before CoreDNS is ready is answered in the moment in which it is. The next one is held, and then says what is.
func TestReadiness(t *testing.T) {
	var ready atomic.Bool
	plugin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, "kubernetes")
		}
	}))
	defer plugin.Close()
	const hold = 300 * time.Millisecond
	s := newReadiness(plugin.URL)
	s.hold = hold
	probes := httptest.NewServer(s)
	defer probes.Close()
	probe := func() (status int, text string, took time.Duration) {
		t.Helper()
		began := time.Now()
		resp, err := http.Get(probes.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body), time.Since(began)
	}
	if status, text, took := probe(); status != http.StatusServiceUnavailable || text != "kubernetes" || took < hold {
		t.Errorf("not ready: %d %q after %s, want 503 with what is not, after %s", status, text, took, hold)
	}
	time.AfterFunc(hold/3, func() { ready.Store(true) })
	if status, _, took := probe(); status != http.StatusOK || took < hold/3 || took >= hold {
		t.Errorf("ready after %s: %d after %s", hold/3, status, took)
	}
	if status, _, took := probe(); status != http.StatusOK || took < hold {
		t.Errorf("still ready: %d after %s, want 200 after %s", status, took, hold)
	}
	<-time.After(readyGap + 50*time.Millisecond) // the kubelet has been started again, and takes the pod for not ready
	if status, _, took := probe(); status != http.StatusOK || took >= hold {
		t.Errorf("another kubelet: %d after %s, want 200 at once", status, took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hold/3) // one that dies while its probe is held
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, probes.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		t.Error("a probe was not held")
	}
	if status, _, took := probe(); status != http.StatusOK || took >= hold {
		t.Errorf("the next kubelet: %d after %s, want 200 at once", status, took)
	}
	ready.Store(false)
	if status, _, took := probe(); status != http.StatusServiceUnavailable || took >= 2*hold {
		t.Errorf("ready no longer: %d after %s, want 503 after %s", status, took, hold)
	}
	plugin.Close()
	if status, text, _ := probe(); status != http.StatusServiceUnavailable || text == "" {
		t.Errorf("without the plugin: %d %q", status, text)
	}
}

// Who connects before there is a server waits for it.
func TestServeReadiness(t *testing.T) {
	plugin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer plugin.Close()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String() + "/ready")
		if err == nil {
			resp.Body.Close()
		}
		answered <- err
	}()
	<-time.After(50 * time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { ServeReadiness(ctx, l, plugin.URL); close(ended) }()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	cancel()
	<-ended
}

func TestInherited(t *testing.T) {
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_PID", "1") // meant for another process
	if l, err := Inherited(); l != nil || err != nil {
		t.Errorf("Inherited() = %v, %v", l, err)
	}
}
