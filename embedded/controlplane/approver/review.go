// Package approver signs off the serving certificates that kubelets ask for. Upstream leaves this to the operator, since
// only the operator knows which names a node may claim; kl does know: those in the addresses of its Node object.
//
//	a := &approver.Approver{Client: client, Logger: logger}
//	err := a.Run(ctx, ready)
//
// The rules are those of [Review], a pure function. Signing is kube-controller-manager's.
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

// Verdict is what a review comes to.
type Verdict int

// The verdicts.
const (
	Approve Verdict = iota
	Deny            // never right, whatever happens to the node
	Wait            // right once the node has the addresses it asks for
)

const (
	nodePrefix = "system:node:"
	nodesGroup = "system:nodes"
)

// Review judges a request for a kubelet's serving certificate. node is the Node of the name that [NodeName] gives, nil if
// there is none. The reason is for a person. Only requests of the kubelet-serving signer are given to it.
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

// NodeName is the node that a request speaks for, empty if its requester is no node.
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

// checkRequester makes sure that a node asks, and for itself.
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

// checkContent makes sure that the certificate is a kubelet's serving certificate and nothing more. The signer would
// refuse most of the rest, but only after the approval, and silently.
func checkContent(csr *certsv1.CertificateSigningRequest, req *x509.CertificateRequest) error {
	if !slices.Equal(req.Subject.Organization, []string{nodesGroup}) {
		return fmt.Errorf("organization is %q, want %s alone", req.Subject.Organization, nodesGroup)
	}
	if len(req.DNSNames)+len(req.IPAddresses) == 0 {
		return fmt.Errorf("neither a name nor an address is asked for")
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

// addresses are the names and addresses that belong to a node.
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
