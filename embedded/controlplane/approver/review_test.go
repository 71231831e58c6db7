package approver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/url"
	"strings"
	"testing"

	certsv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// request describes a certificate signing request, valid before a test changes it.
type request struct {
	user, cn  string
	groups    []string
	orgs      []string
	dns, ips  []string
	emails    []string
	uris      []*url.URL
	usages    []certsv1.KeyUsage
	corrupt   bool   // the signature does not fit
	typ, tail string // of the PEM block
}

func validRequest() request {
	return request{
		user: "system:node:n1", cn: "system:node:n1",
		groups: []string{"system:nodes", "system:authenticated"}, orgs: []string{"system:nodes"},
		dns: []string{"n1"}, ips: []string{"172.18.0.2"},
		usages: []certsv1.KeyUsage{certsv1.UsageServerAuth, certsv1.UsageDigitalSignature},
		typ:    "CERTIFICATE REQUEST",
	}
}

func (a request) csr(t *testing.T) *certsv1.CertificateSigningRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: a.cn, Organization: a.orgs},
		DNSNames: a.dns, EmailAddresses: a.emails, URIs: a.uris,
	}
	for _, ip := range a.ips {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.corrupt {
		der[len(der)-1] ^= 1
	}
	return &certsv1.CertificateSigningRequest{Spec: certsv1.CertificateSigningRequestSpec{
		Request:    append(pem.EncodeToMemory(&pem.Block{Type: a.typ, Bytes: der}), a.tail...),
		SignerName: certsv1.KubeletServingSignerName,
		Username:   a.user, Groups: a.groups, Usages: a.usages,
	}}
}

func TestReview(t *testing.T) {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1"},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: "172.18.0.2"},
			{Type: corev1.NodeInternalIP, Address: "fc00::2"},
			{Type: corev1.NodeHostName, Address: "kl-n1"},
		}},
	}
	const deny, wait, approve = Deny, Wait, Approve
	tests := []struct {
		name   string
		change func(*request)
		node   *corev1.Node
		want   Verdict
		reason string
	}{
		{"valid", func(*request) {}, node, approve, "belong to node n1"},
		{"host name", func(a *request) { a.dns = []string{"kl-n1", "n1"} }, node, approve, ""},
		{"no name", func(a *request) { a.dns = nil }, node, approve, ""},
		{"no address", func(a *request) { a.ips = nil }, node, approve, ""},
		{"both address families", func(a *request) { a.ips = []string{"172.18.0.2", "fc00::2"} }, node, approve, ""},
		{"RSA key usages", func(a *request) { a.usages = append(a.usages, certsv1.UsageKeyEncipherment) }, node, approve, ""},

		{"no node yet", func(*request) {}, nil, wait, "node n1 does not exist"},
		{"another's address", func(a *request) { a.ips = []string{"172.18.0.2", "172.18.0.3"} }, node, wait, "address 172.18.0.3 does not belong to node n1"},
		{"the API's name", func(a *request) { a.dns = []string{"n1", "kubernetes.default.svc"} }, node, wait, "name kubernetes.default.svc does not belong"},
		{"a wildcard", func(a *request) { a.dns = []string{"*"} }, node, wait, "name * does not belong"},
		{"loopback", func(a *request) { a.ips = []string{"127.0.0.1"} }, node, wait, "address 127.0.0.1"},

		{"another node's name", func(a *request) { a.cn = "system:node:n2" }, node, deny, "is not the requester's"},
		{"not a node", func(a *request) { a.user, a.cn = "alice", "alice" }, nil, deny, `requester "alice" is not a node`},
		{"bootstrap token", func(a *request) { a.user = "system:bootstrap:abcdef" }, nil, deny, "is not a node"},
		{"node without a name", func(a *request) { a.user, a.cn = "system:node:", "system:node:" }, nil, deny, "is not a node"},
		{"not in the group", func(a *request) { a.groups = []string{"system:authenticated"} }, node, deny, "not in group"},
		{"no organization", func(a *request) { a.orgs = nil }, node, deny, "organization"},
		{"masters", func(a *request) { a.orgs = []string{"system:nodes", "system:masters"} }, node, deny, "organization"},
		{"no names and addresses", func(a *request) { a.dns, a.ips = nil, nil }, node, deny, "neither a name nor an address"},
		{"email", func(a *request) { a.emails = []string{"a@b.c"} }, node, deny, "email"},
		{"URI", func(a *request) { a.uris = []*url.URL{{Scheme: "spiffe", Host: "x"}} }, node, deny, "URIs"},
		{"client usage", func(a *request) { a.usages = append(a.usages, certsv1.UsageClientAuth) }, node, deny, "usages"},
		{"client alone", func(a *request) {
			a.usages = []certsv1.KeyUsage{certsv1.UsageClientAuth, certsv1.UsageDigitalSignature}
		}, node, deny, "usages"},
		{"no usages", func(a *request) { a.usages = nil }, node, deny, "usages"},
		{"forged", func(a *request) { a.corrupt = true }, node, deny, "check signature"},
		{"a certificate", func(a *request) { a.typ = "CERTIFICATE" }, node, deny, "PEM block"},
		{"data after the request", func(a *request) { a.tail = "-----BEGIN" }, node, deny, "PEM block"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := validRequest()
			tt.change(&a)
			got, reason := Review(a.csr(t), tt.node)
			if got != tt.want || !strings.Contains(reason, tt.reason) {
				t.Errorf("Review() = %d, %q; want %d, a reason with %q", got, reason, tt.want, tt.reason)
			}
		})
	}
}
