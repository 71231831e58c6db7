package approver

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	certsv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// TestHandle makes one pass over a request, with the clock of the request's creation.
func TestHandle(t *testing.T) {
	early := validRequest()
	early.user, early.cn, early.dns = "system:node:n2", "system:node:n2", []string{"n2"}
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
		{"another's address", foreign, 0, false, certsv1.CertificateDenied},
		{"address not known yet", early, 0, true, ""},
		{"address never known", early, 2 * nodeTimeout, false, certsv1.CertificateDenied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			csr := tt.request.csr(t)
			csr.Name = "csr"
			csr.CreationTimestamp = metav1.NewTime(time.Now().Add(-tt.age))
			client := fake.NewClientset(csr)
			a := &Approver{Client: client, Address: assigned, Logger: slog.New(slog.DiscardHandler)}
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

// assigned knows the address of n1.
func assigned(node string) (netip.Addr, error) {
	if node != "n1" {
		return netip.Addr{}, fs.ErrNotExist
	}
	return netip.MustParseAddr("172.18.0.2"), nil
}

// TestTokenIsForOneRequest joins with a token, tries it again, and tries one that was withdrawn.
func TestTokenIsForOneRequest(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "tokenreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &authv1.TokenReview{Status: authv1.TokenReviewStatus{Authenticated: true}}, nil
	})
	a := &Approver{Client: client, Address: assigned, Logger: slog.New(slog.DiscardHandler)}
	join := func(name, token string) certsv1.RequestConditionType {
		t.Helper()
		r := joinRequest()
		id, _, _ := strings.Cut(token, ".")
		r.user = "system:bootstrap:" + id
		csr := r.csr(t)
		csr.Name, csr.UID, csr.Spec.SignerName = name, types.UID("uid-"+name), certsv1.KubeAPIServerClientKubeletSignerName
		csr.CreationTimestamp = metav1.Now()
		if _, err := client.CertificatesV1().CertificateSigningRequests().Create(t.Context(), csr, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if a.handle(t.Context(), csr) {
			t.Errorf("%s is to be handled again", name)
		}
		got, err := client.CertificatesV1().CertificateSigningRequests().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || len(got.Status.Conditions) != 1 {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		return got.Status.Conditions[0].Type
	}
	first, err := IssueToken(t.Context(), client, "n1")
	if err != nil {
		t.Fatal(err)
	}
	if c := join("first", first); c != certsv1.CertificateApproved {
		t.Errorf("the first request is %s", c)
	}
	if c := join("again", first); c != certsv1.CertificateDenied {
		t.Errorf("the second request with the same token is %s", c)
	}
	second, err := IssueToken(t.Context(), client, "n1")
	if err != nil || second == first {
		t.Fatalf("the next token is %q, %v", second, err)
	}
	id, _, _ := strings.Cut(second, ".")
	if err := client.CoreV1().Secrets("kube-system").Delete(t.Context(), "bootstrap-token-"+id, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if c := join("withdrawn", second); c != certsv1.CertificateDenied {
		t.Errorf("a request with a token that was withdrawn is %s", c)
	}
}

func TestRunStops(t *testing.T) {
	a := &Approver{Client: fake.NewClientset(), Logger: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	if err := a.Run(ctx, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("Run() = %v, want a clean stop", err)
	}
}
