package approver_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	certsv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/klkube/kl/embedded/controlplane/approver"
)

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	a := &approver.Approver{Client: fake.NewClientset(), Logger: slog.New(slog.DiscardHandler)}
	err := a.Run(ctx, cancel) // blocks until ctx is done; here that is once it is ready
	fmt.Println(err)
	// Output: context canceled
}

func ExampleReview() {
	csr := &certsv1.CertificateSigningRequest{}
	csr.Spec.Username = "system:node:n1"
	csr.Spec.Request = []byte("not a certificate request")
	verdict, reason := approver.Review(csr, netip.Addr{})
	fmt.Println(verdict == approver.Deny, reason)
	// Output: true the request is not one PEM block of type CERTIFICATE REQUEST
}
