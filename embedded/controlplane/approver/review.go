// Package approver lets nodes in. It issues the bootstrap tokens that nodes join with, one a node and time ([IssueToken]), and
// approves what nodes request: the client certificate of the node that a token is for, once, and serving certificates for the
// node's name and the address that its driver assigned. Upstream leaves the latter to the operator, and lets every token have
// the certificate of every node.
//
// The rules are in [Review] and [ReviewJoin], which are pure functions. kube-controller-manager signs what is approved, and
// approves the renewal of client certificates itself.
package approver

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	certsv1 "k8s.io/api/certificates/v1"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
)

// Verdict is the result of a review.
type Verdict int

// The verdicts.
const (
	Approve Verdict = iota
	Deny            // for good
	Wait            // deny, unless the node's address is known soon
)

const (
	nodePrefix = "system:node:"
	nodesGroup = "system:nodes"
)

// Review reviews a request to the kubelet-serving signer. address is the one that the driver assigned to the node that
// [NodeName] names; it is invalid if there is none, or none yet. The reason is meant for people.
func Review(csr *certsv1.CertificateSigningRequest, address netip.Addr) (Verdict, string) {
	node := NodeName(csr)
	req, err := parse(csr.Spec.Request)
	if err != nil {
		return Deny, err.Error()
	}
	if err := checkRequester(csr, req); err != nil {
		return Deny, err.Error()
	}
	if err := checkContent(csr, req); err != nil {
		return Deny, err.Error()
	}
	for _, name := range req.DNSNames {
		if name != node {
			return Deny, fmt.Sprintf("name %.64q is not that of node %s", name, node)
		}
	}
	for _, ip := range req.IPAddresses {
		if !address.IsValid() {
			return Wait, fmt.Sprintf("the address of node %s is not known", node)
		}
		if !ip.Equal(net.IP(address.AsSlice())) {
			return Deny, fmt.Sprintf("address %s was not assigned to node %s", ip, node)
		}
	}
	return Approve, "the name and the address were assigned to node " + node
}

// JoinGroup is the group of all tokens that nodes of the cluster join with.
const JoinGroup = "system:bootstrappers:kl-node"

// joinGroupOf returns the group of tokens that are for one node.
func joinGroupOf(node string) string { return JoinGroup + ":" + node }

// Joins returns the node that a request's token is for, empty if the requester has no such token.
func Joins(csr *certsv1.CertificateSigningRequest) string {
	if !strings.HasPrefix(csr.Spec.Username, bootstrapapi.BootstrapUserPrefix) {
		return ""
	}
	for _, group := range csr.Spec.Groups {
		if node, ok := strings.CutPrefix(group, JoinGroup+":"); ok {
			return node
		}
	}
	return ""
}

// ReviewJoin reviews a request to the signer of kubelets' client certificates by a node that joins, see [Joins].
func ReviewJoin(csr *certsv1.CertificateSigningRequest) (Verdict, string) {
	node := Joins(csr)
	req, err := parse(csr.Spec.Request)
	if err != nil {
		return Deny, err.Error()
	}
	if want := nodePrefix + node; req.Subject.CommonName != want {
		return Deny, fmt.Sprintf("common name %.64q is not that of the token's node, %s", req.Subject.CommonName, want)
	}
	if !slices.Equal(req.Subject.Organization, []string{nodesGroup}) {
		return Deny, fmt.Sprintf("organization is %q, want %s alone", req.Subject.Organization, nodesGroup)
	}
	if len(req.DNSNames)+len(req.IPAddresses)+len(req.EmailAddresses)+len(req.URIs) > 0 {
		return Deny, "a client certificate has no names and addresses of servers"
	}
	if err := checkUsages(csr, certsv1.UsageClientAuth); err != nil {
		return Deny, err.Error()
	}
	return Approve, "the token is for node " + node
}

// NodeName returns the node that made a request, empty if the requester is not a node.
func NodeName(csr *certsv1.CertificateSigningRequest) string {
	name, ok := strings.CutPrefix(csr.Spec.Username, nodePrefix)
	if !ok {
		return ""
	}
	return name
}

func parse(data []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("the request is not one PEM block of type CERTIFICATE REQUEST")
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse request: %w", err)
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check signature of request: %w", err)
	}
	return req, nil
}

// checkRequester checks that the requester is a node and asks for a certificate of its own.
func checkRequester(csr *certsv1.CertificateSigningRequest, req *x509.CertificateRequest) error {
	if NodeName(csr) == "" {
		return fmt.Errorf("requester %q is not a node", csr.Spec.Username)
	}
	if !slices.Contains(csr.Spec.Groups, nodesGroup) {
		return fmt.Errorf("requester %s is not in group %s", csr.Spec.Username, nodesGroup)
	}
	if req.Subject.CommonName != csr.Spec.Username {
		return fmt.Errorf("common name %q is not the requester's, %s", req.Subject.CommonName, csr.Spec.Username)
	}
	return nil
}

// checkContent checks that the certificate can be used for a kubelet's server and for nothing else. The signer refuses most
// other requests too, but after the approval, and without telling the requester.
func checkContent(csr *certsv1.CertificateSigningRequest, req *x509.CertificateRequest) error {
	if !slices.Equal(req.Subject.Organization, []string{nodesGroup}) {
		return fmt.Errorf("organization is %q, want %s alone", req.Subject.Organization, nodesGroup)
	}
	if len(req.DNSNames)+len(req.IPAddresses) == 0 {
		return fmt.Errorf("the request has neither a name nor an address")
	}
	if len(req.EmailAddresses) > 0 || len(req.URIs) > 0 {
		return fmt.Errorf("email addresses and URIs are not allowed")
	}
	return checkUsages(csr, certsv1.UsageServerAuth)
}

// checkUsages checks that a certificate is for one purpose alone.
func checkUsages(csr *certsv1.CertificateSigningRequest, purpose certsv1.KeyUsage) error {
	usages := slices.Sorted(slices.Values(csr.Spec.Usages))
	short := slices.Sorted(slices.Values([]certsv1.KeyUsage{certsv1.UsageDigitalSignature, purpose}))
	long := slices.Sorted(slices.Values(append(slices.Clone(short), certsv1.UsageKeyEncipherment)))
	if !slices.Equal(usages, short) && !slices.Equal(usages, long) {
		return fmt.Errorf("usages are %q, want %q and at most %s", usages, short, certsv1.UsageKeyEncipherment)
	}
	return nil
}
