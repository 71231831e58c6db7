package await

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func TestSuccess(t *testing.T) {
	attempts := 0
	err := Success(t.Context(), time.Millisecond, func(context.Context) error {
		if attempts++; attempts < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || attempts != 3 {
		t.Errorf("Success() = %v after %d attempts, want nil after 3", err, attempts)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	refused := errors.New("refused")
	err = Success(ctx, time.Millisecond, func(context.Context) error { return refused })
	if !errors.Is(err, refused) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Success() = %v, want the deadline and the last error", err)
	}
}

func TestAnswer(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" || requests.Add(1) < 3 {
			http.Error(w, "etcd is not ready", http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL, QPS: 1} // a client with this limit would need seconds
	if err := Answer(t.Context(), config, "/readyz"); err != nil || requests.Load() != 3 {
		t.Errorf("Answer() = %v after %d requests, want nil after 3", err, requests.Load())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := Answer(ctx, config, "/livez"); err == nil || !strings.Contains(err.Error(), "etcd is not ready") {
		t.Errorf("Answer() = %v, want what the server said last", err)
	}
}
