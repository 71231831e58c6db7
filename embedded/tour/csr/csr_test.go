package csr_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	certsv1 "k8s.io/api/certificates/v1"

	"github.com/klkube/kl/embedded/tour"
	"github.com/klkube/kl/embedded/tour/csr"
)

func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := tour.Run(t.Context(), []tour.Program{csr.Request()}, append([]string{"csr"}, args...), &out)
	return out.String(), err
}

func TestRequest(t *testing.T) {
	line, err := run(t, "n1", "--name", "foreign", "--dns", "n2,api.example", "--address", "192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	var object certsv1.CertificateSigningRequest
	if err := json.Unmarshal([]byte(line), &object); err != nil || strings.Count(line, "\n") != 1 {
		t.Fatalf("%q is not one line of JSON: %v", line, err)
	}
	if object.Kind != "CertificateSigningRequest" || object.Name != "foreign" || object.Spec.SignerName != certsv1.KubeletServingSignerName {
		t.Errorf("object is %+v", object)
	}
	block, _ := pem.Decode(object.Spec.Request)
	if block == nil {
		t.Fatalf("request %q is not PEM", object.Spec.Request)
	}
	got, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.CheckSignature(); err != nil {
		t.Error(err)
	}
	if got.Subject.String() != "CN=system:node:n1,O=system:nodes" || !slices.Equal(got.DNSNames, []string{"n2", "api.example"}) ||
		len(got.IPAddresses) != 1 || got.IPAddresses[0].String() != "192.0.2.7" {
		t.Errorf("request is for %s, names %v, addresses %v", got.Subject, got.DNSNames, got.IPAddresses)
	}
}

func TestRequestUnnamed(t *testing.T) {
	line, err := run(t, "n1")
	if err != nil || !strings.Contains(line, `"generateName":"n1-"`) {
		t.Errorf("%q, %v", line, err)
	}
}

func TestBadRequest(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"", "NODE is missing"},
		{"n1 n2", `unexpected argument "n2"`},
		{"N_1", `"N_1" is not a name: `},
		{"n1 --dns a..b", `"a..b" is not a name: `},
		{"n1 --address 300.1.1.1", "300.1.1.1"},
	} {
		out, err := run(t, strings.Fields(tt.args)...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || out != "" {
			t.Errorf("%q: printed %q, error %v, want %q", tt.args, out, err, tt.want)
		}
	}
}
