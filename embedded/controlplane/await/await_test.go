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

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
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

func TestNode(t *testing.T) {
	node := func(name string, ready corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": "a"}},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
		}
	}
	client := fake.NewClientset(node("n1", corev1.ConditionUnknown))
	if err := Node(t.Context(), client, "zone=a", nil); err != nil {
		t.Errorf("Node() of any state = %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := Node(short, client, "zone=a", Ready); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Node() = %v although no node is ready", err)
	}
	done := make(chan error, 1)
	go func() { done <- Node(t.Context(), client, "zone=a", Ready) }()
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node("n2", corev1.ConditionTrue), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("Node() = %v with a ready node", err)
	}
}
