package identity

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/pki"
)

// TestIdentity verifies one certificate as that of the Service, which the API server dials, and as a client's.
func TestIdentity(t *testing.T) {
	const user = "system:metrics-server"
	layout := cluster.Home(t.TempDir()).Cluster("test")
	now := time.Now()
	if err := pki.Ensure(layout, cluster.DefaultSpec().Networking, now); err != nil {
		t.Fatal(err)
	}
	id, err := New(layout.PKI("ca.crt"), layout.PKI("ca.key"), Request{User: user, Service: "metrics-server.kube-system.svc"}, now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(id.Cert, id.Key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(layout.PKI("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for _, o := range []x509.VerifyOptions{
		{DNSName: "metrics-server.kube-system.svc", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		{DNSName: "127.0.0.1", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
		{KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
	} {
		o.Roots, o.CurrentTime = roots, now.Add(2*365*24*time.Hour)
		if _, err := pair.Leaf.Verify(o); err != nil {
			t.Errorf("verify for %q, usage %v: %v", o.DNSName, o.KeyUsages, err)
		}
	}
	if cn, org := pair.Leaf.Subject.CommonName, pair.Leaf.Subject.Organization; cn != user || len(org) > 0 {
		t.Errorf("subject is %q of groups %q, want %q of none", cn, org, user)
	}

	admin := &rest.Config{Host: "https://127.0.0.1:1", BearerToken: "secret", TLSClientConfig: rest.TLSClientConfig{CertFile: "admin.crt", KeyFile: "admin.key"}}
	own := id.Config(admin, ca)
	if own.Host != admin.Host || own.BearerToken != "" || own.CertFile != "" || own.KeyFile != "" {
		t.Errorf("configuration keeps the administrator's credentials: %v", own)
	}
}
