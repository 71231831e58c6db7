// Package approver approves the serving certificates that kubelets request. Upstream leaves that to the operator, who knows
// which names a node may have. In kl these are the names and addresses in the status of its Node.
//
// The rules are in [Review], a pure function. kube-controller-manager signs what is approved.
package approver

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
	"strings"

	certsv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// Verdict is the result of a review.
type Verdict int

// The verdicts.
const (
	Approve Verdict = iota
	Deny            // for good
	Wait            // deny, unless the Node gets the requested names and addresses soon
)

const (
	nodePrefix = "system:node:"
	nodesGroup = "system:nodes"
)

// Review reviews a request to the kubelet-serving signer. node is the Node that [NodeName] names, nil if there is none. The
// reason is meant for people.
func Review(csr *certsv1.CertificateSigningRequest, node *corev1.Node) (Verdict, string) {
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
	if node == nil {
		return Wait, fmt.Sprintf("node %s does not exist", NodeName(csr))
	}
	names, ips := addresses(node)
	for _, name := range req.DNSNames {
		if !slices.Contains(names, name) {
			return Wait, fmt.Sprintf("name %s does not belong to node %s", name, node.Name)
		}
	}
	for _, ip := range req.IPAddresses {
		if !slices.ContainsFunc(ips, ip.Equal) {
			return Wait, fmt.Sprintf("address %s does not belong to node %s", ip, node.Name)
		}
	}
	return Approve, "the names and addresses belong to node " + node.Name
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
	usages := slices.Sorted(slices.Values(csr.Spec.Usages))
	short := []certsv1.KeyUsage{certsv1.UsageDigitalSignature, certsv1.UsageServerAuth}
	long := []certsv1.KeyUsage{certsv1.UsageDigitalSignature, certsv1.UsageKeyEncipherment, certsv1.UsageServerAuth}
	if !slices.Equal(usages, short) && !slices.Equal(usages, long) {
		return fmt.Errorf("usages are %q, want %q and at most %s", usages, short, certsv1.UsageKeyEncipherment)
	}
	return nil
}

// addresses returns the names and addresses of a node.
func addresses(node *corev1.Node) (names []string, ips []net.IP) {
	names = []string{node.Name}
	for _, a := range node.Status.Addresses {
		switch a.Type {
		case corev1.NodeHostName, corev1.NodeInternalDNS, corev1.NodeExternalDNS:
			names = append(names, a.Address)
		case corev1.NodeInternalIP, corev1.NodeExternalIP:
			if ip := net.ParseIP(a.Address); ip != nil {
				ips = append(ips, ip)
			}
		}
	}
	return names, ips
}
