package approver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	certsv1 "k8s.io/api/certificates/v1"
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
	address, unknown := netip.MustParseAddr("172.18.0.2"), netip.Addr{}
	const deny, wait, approve = Deny, Wait, Approve
	tests := []struct {
		name   string
		change func(*request)
		node   netip.Addr
		want   Verdict
		reason string
	}{
		{"valid", func(*request) {}, address, approve, "assigned to node n1"},
		{"no name", func(a *request) { a.dns = nil }, address, approve, ""},
		{"no address", func(a *request) { a.ips = nil }, address, approve, ""},
		{"RSA key usages", func(a *request) { a.usages = append(a.usages, certsv1.UsageKeyEncipherment) }, address, approve, ""},

		{"no address yet", func(*request) {}, unknown, wait, "the address of node n1 is not known"},
		{"another's address", func(a *request) { a.ips = []string{"172.18.0.2", "172.18.0.3"} }, address, deny, "address 172.18.0.3 was not assigned to node n1"},
		{"the API's name", func(a *request) { a.dns = []string{"n1", "kubernetes.default.svc"} }, address, deny, `name "kubernetes.default.svc" is not`},
		{"a wildcard", func(a *request) { a.dns = []string{"*"} }, address, deny, `name "*" is not`},
		{"loopback", func(a *request) { a.ips = []string{"127.0.0.1"} }, address, deny, "address 127.0.0.1"},

		{"another node's name", func(a *request) { a.cn = "system:node:n2" }, address, deny, "is not the requester's"},
		{"not a node", func(a *request) { a.user, a.cn = "alice", "alice" }, unknown, deny, `requester "alice" is not a node`},
		{"bootstrap token", func(a *request) { a.user = "system:bootstrap:abcdef" }, unknown, deny, "is not a node"},
		{"node without a name", func(a *request) { a.user, a.cn = "system:node:", "system:node:" }, unknown, deny, "is not a node"},
		{"not in the group", func(a *request) { a.groups = []string{"system:authenticated"} }, address, deny, "not in group"},
		{"no organization", func(a *request) { a.orgs = nil }, address, deny, "organization"},
		{"masters", func(a *request) { a.orgs = []string{"system:nodes", "system:masters"} }, address, deny, "organization"},
		{"no names and addresses", func(a *request) { a.dns, a.ips = nil, nil }, address, deny, "neither a name nor an address"},
		{"email", func(a *request) { a.emails = []string{"a@b.c"} }, address, deny, "email"},
		{"URI", func(a *request) { a.uris = []*url.URL{{Scheme: "spiffe", Host: "x"}} }, address, deny, "URIs"},
		{"client usage", func(a *request) { a.usages = append(a.usages, certsv1.UsageClientAuth) }, address, deny, "usages"},
		{"client alone", func(a *request) {
			a.usages = []certsv1.KeyUsage{certsv1.UsageClientAuth, certsv1.UsageDigitalSignature}
		}, address, deny, "usages"},
		{"no usages", func(a *request) { a.usages = nil }, address, deny, "usages"},
		{"forged", func(a *request) { a.corrupt = true }, address, deny, "check signature"},
		{"a certificate", func(a *request) { a.typ = "CERTIFICATE" }, address, deny, "PEM block"},
		{"data after the request", func(a *request) { a.tail = "-----BEGIN" }, address, deny, "PEM block"},
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

// joinRequest is the request of node n1 for its first certificate, with the token of its own.
func joinRequest() request {
	r := validRequest()
	r.user, r.groups = "system:bootstrap:abcdef", []string{JoinGroup, JoinGroup + ":n1", "system:authenticated"}
	r.dns, r.ips, r.usages = nil, nil, []certsv1.KeyUsage{certsv1.UsageDigitalSignature, certsv1.UsageClientAuth}
	return r
}

func TestReviewJoin(t *testing.T) {
	tests := []struct {
		name   string
		change func(*request)
		want   Verdict
		reason string
	}{
		{"valid", func(*request) {}, Approve, "for node n1"},
		{"RSA key usages", func(r *request) { r.usages = append(r.usages, certsv1.UsageKeyEncipherment) }, Approve, ""},
		{"another node", func(r *request) { r.cn = "system:node:n2" }, Deny, "is not that of the token's node"},
		{"a user", func(r *request) { r.cn = "kubernetes-admin" }, Deny, "is not that of the token's node"},
		{"masters", func(r *request) { r.orgs = []string{"system:masters"} }, Deny, "organization"},
		{"nodes and masters", func(r *request) { r.orgs = append(r.orgs, "system:masters") }, Deny, "organization"},
		{"a name", func(r *request) { r.dns = []string{"n1"} }, Deny, "no names"},
		{"an address", func(r *request) { r.ips = []string{"172.18.0.2"} }, Deny, "no names"},
		{"a server", func(r *request) { r.usages = append(r.usages, certsv1.UsageServerAuth) }, Deny, "usages"},
		{"forged", func(r *request) { r.corrupt = true }, Deny, "check signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := joinRequest()
			tt.change(&r)
			got, reason := ReviewJoin(r.csr(t))
			if got != tt.want || !strings.Contains(reason, tt.reason) {
				t.Errorf("ReviewJoin() = %d, %q; want %d, a reason with %q", got, reason, tt.want, tt.reason)
			}
		})
	}
	for name, change := range map[string]func(*request){
		"a user in the group": func(r *request) { r.user = "alice" },
		"another token":       func(r *request) { r.groups = []string{"system:bootstrappers:kubeadm:default-node-token"} },
		"no node's token":     func(r *request) { r.groups = []string{JoinGroup} },
	} {
		r := joinRequest()
		change(&r)
		if node := Joins(r.csr(t)); node != "" {
			t.Errorf("%s joins node %q", name, node)
		}
	}
}
