// Package csr has the program of the tour that asks for a kubelet's certificate, for any name and address.
//
//	kl-engine tour csr n1 --dns other.example --address 192.0.2.1 | kubectl create -f -
package csr

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"

	"github.com/spf13/pflag"
	certsv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/klkube/kl/embedded/tour"
)

// Request prints a CertificateSigningRequest for a kubelet's serving certificate, as one line of JSON. Its key is thrown away.
func Request() tour.Program {
	r := &request{}
	return tour.Program{
		Name: "csr", Args: "NODE", Short: "prints a request for the serving certificate of a node's kubelet", Run: r.run,
		Long: "The names and addresses are not checked: that is up to who approves the request.",
		Flags: func(fs *pflag.FlagSet) {
			fs.StringVar(&r.name, "name", "", "name of the request; NODE with a number behind it by default")
			fs.StringSliceVar(&r.dns, "dns", nil, "DNS names of the certificate")
			fs.IPSliceVar(&r.addresses, "address", nil, "addresses of the certificate")
		},
	}
}

type request struct {
	name      string
	dns       []string
	addresses []net.IP
}

func (r *request) run(_ context.Context, args []string, log *tour.Log) error {
	node := args[0]
	for _, name := range append([]string{node}, r.dns...) {
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
			return tour.Usagef("%q is not a name: %s", name, problems[0])
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	// The subject is the one that the API server wants of a kubelet:
	// https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}},
		DNSNames: r.dns, IPAddresses: r.addresses,
	}, key)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	object := certsv1.CertificateSigningRequest{
		TypeMeta: metav1.TypeMeta{APIVersion: certsv1.SchemeGroupVersion.String(), Kind: "CertificateSigningRequest"},
		Spec: certsv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: certsv1.KubeletServingSignerName,
			Usages:     []certsv1.KeyUsage{certsv1.UsageDigitalSignature, certsv1.UsageServerAuth},
		},
	}
	if object.Name = r.name; r.name == "" {
		object.GenerateName = node + "-"
	}
	line, err := json.Marshal(object)
	if err != nil {
		return err
	}
	log.Printf("%s", line)
	return nil
}
