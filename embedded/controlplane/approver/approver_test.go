package approver

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	certsv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

// TestHandle makes one pass over a request, with the clock of the request's creation.
func TestHandle(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.18.0.2"}}}}
	foreign := validRequest()
	foreign.ips = []string{"10.0.0.1"}
	forged := validRequest()
	forged.corrupt = true
	tests := []struct {
		name    string
		request request
		age     time.Duration
		retry   bool
		want    certsv1.RequestConditionType // none if empty
	}{
		{"valid", validRequest(), 0, false, certsv1.CertificateApproved},
		{"forged", forged, 0, false, certsv1.CertificateDenied},
		{"address not known yet", foreign, 0, true, ""},
		{"address never known", foreign, 2 * nodeTimeout, false, certsv1.CertificateDenied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			csr := tt.request.csr(t)
			csr.Name = "csr"
			csr.CreationTimestamp = metav1.NewTime(time.Now().Add(-tt.age))
			client := fake.NewClientset(node, csr)
			a := &Approver{Client: client, Logger: slog.New(slog.DiscardHandler)}
			if retry := a.handle(t.Context(), csr); retry != tt.retry {
				t.Errorf("handle() = %t, want %t", retry, tt.retry)
			}
			got, err := client.CertificatesV1().CertificateSigningRequests().Get(t.Context(), "csr", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var condition certsv1.RequestConditionType
			for _, c := range got.Status.Conditions {
				condition = c.Type
				if c.Message == "" {
					t.Error("the decision has no reason")
				}
			}
			if condition != tt.want || len(csr.Status.Conditions) > 0 {
				t.Errorf("condition = %q, want %q; the shared object has %v", condition, tt.want, csr.Status.Conditions)
			}
		})
	}
}

func TestRunStops(t *testing.T) {
	a := &Approver{Client: fake.NewClientset(), Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	if err := a.Run(ctx, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("Run() = %v, want a clean stop", err)
	}
}
