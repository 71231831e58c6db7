package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPages(t *testing.T) {
	server := httptest.NewServer(pages())
	defer server.Close()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/":                "hello from " + host + "\n",
		"/client":          "127.0.0.1\n",
		"/hold?bytes=8192": "holding 8192\n",
		"/burn?for=0s":     "burning for 0s\n",
	} {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"get", server.URL + path}, &out); err != nil || out.String() != want {
			t.Errorf("get %s: %q, %v; want %q", path, &out, err, want)
		}
	}
	for _, path := range []string{"/hold?bytes=-1", "/hold?bytes=1073741825", "/hold", "/burn", "/burn?for=x"} {
		if err := run(t.Context(), []string{"get", server.URL + path}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("get %s: %v, want status 400", path, err)
		}
	}
}

// get waits until a server answers, but no longer than its limit.
func TestGetRetries(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if err := run(t.Context(), []string{"get", "-for", "100ms", "http://" + addr}, &bytes.Buffer{}); err == nil {
		t.Error("get succeeded without a server")
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	time.AfterFunc(200*time.Millisecond, func() { served <- run(ctx, []string{"serve", "-addr", addr}, &bytes.Buffer{}) })
	var out bytes.Buffer
	if err := run(t.Context(), []string{"get", "-for", "20s", "http://" + addr}, &out); err != nil || !strings.HasPrefix(out.String(), "hello from ") {
		t.Errorf("get: %q, %v", &out, err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestServeUDP(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := conn.LocalAddr().String()
	conn.Close()
	if err := serveUDP(t.Context(), addr); err != nil {
		t.Fatal(err)
	}
	client, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if err := client.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := client.Read(buf)
	if err != nil || !strings.HasSuffix(string(buf[:n]), " heard ping") {
		t.Errorf("answer is %q, %v", buf[:n], err)
	}
}

func TestProbeAndDial(t *testing.T) {
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	go greet(open)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	reached, refused := open.Addr().String(), closed.Addr().String()

	w := httptest.NewRecorder()
	probe(w, httptest.NewRequest(http.MethodGet, "/probe?"+url.Values{"for": {"1s"}, "to": {reached, refused}}.Encode(), nil))
	if want := reached + " yes\n" + refused + " no\n"; w.Body.String() != want {
		t.Errorf("probe: %q, want %q", w.Body, want)
	}
	for addr, some := range map[string]bool{reached: true, refused: false} {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"dial", "-for", "100ms", addr}, &out); err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(out.String()) // tried 5 times, reached 127.0.0.1:4711 5 times
		if len(f) != 7 {
			t.Fatalf("dial printed %q", &out)
		}
		tries, _ := strconv.Atoi(f[1])
		hits, _ := strconv.Atoi(f[5])
		if tries == 0 || some && hits != tries || !some && hits != 0 {
			t.Errorf("dial %s: %q", addr, &out)
		}
	}
}

func TestReview(t *testing.T) {
	for _, tt := range []struct{ labels, message string }{
		{`{"kl.test/deny": "because"}`, "the test webhook denies web: because"},
		{`{"app": "web"}`, ""},
		{`null`, ""},
	} {
		in := `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
			"request": {"uid": "u1", "object": {"metadata": {"name": "web", "labels": ` + tt.labels + `}}}}`
		w := httptest.NewRecorder()
		review(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(in)))
		var out admissionReview
		if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		if out.APIVersion != "admission.k8s.io/v1" || out.Response == nil || out.Response.UID != "u1" {
			t.Fatalf("answer is %s", w.Body)
		}
		if r := out.Response; r.Allowed != (tt.message == "") || !r.Allowed && r.Status.Message != tt.message {
			t.Errorf("labels %s: answer %s", tt.labels, w.Body)
		}
	}
	w := httptest.NewRecorder()
	review(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}")))
	if w.Code != http.StatusBadRequest {
		t.Errorf("a body without a request: status %d, want 400", w.Code)
	}
}

func TestUnknownCommand(t *testing.T) {
	if err := run(t.Context(), []string{"fly"}, &bytes.Buffer{}); err == nil || err.Error() != `unknown command "fly"` {
		t.Errorf("run: %v", err)
	}
}
