package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"testing"
	"time"

	certsv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// checkJoin asks for certificates with the token of n1: of another node, of its own, and of its own once more.
func checkJoin(t *testing.T, c rest.Config) {
	t.Helper()
	client := kubernetes.NewForConfigOrDie(&c)
	for _, try := range []struct {
		node string
		want certsv1.RequestConditionType
	}{{"n2", certsv1.CertificateDenied}, {"n1", certsv1.CertificateApproved}, {"n1", certsv1.CertificateDenied}} {
		got := request(t, client, certsv1.KubeAPIServerClientKubeletSignerName, certsv1.UsageClientAuth, try.node, "")
		if got != try.want {
			t.Errorf("certificate of %s with the token of n1: %s, want %s", try.node, got, try.want)
		}
	}
}

// checkClaims has node n1, whose driver assigned 172.18.0.2 to it, take what is another's. Its Node exists, without addresses.
func checkClaims(t *testing.T, c rest.Config) {
	t.Helper()
	client := kubernetes.NewForConfigOrDie(&c)
	nodes := client.CoreV1().Nodes()
	status := func(address string, dryRun ...string) error {
		patch := []byte(`{"status":{"addresses":[{"type":"InternalIP","address":"` + address + `"},{"type":"Hostname","address":"n1"}]}}`)
		_, err := nodes.Patch(t.Context(), "n1", types.StrategicMergePatchType, patch, metav1.PatchOptions{DryRun: dryRun}, "status")
		return err
	}
	if err := status("172.18.0.2"); err != nil {
		t.Errorf("publish its own address: %v", err)
	}
	// The API server looks for new policies once a second, and this one is new: the cluster was made a moment ago.
	for end := time.Now().Add(10 * time.Second); status("172.18.0.3", metav1.DryRunAll) == nil && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if err := status("172.18.0.3"); !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) {
		t.Errorf("take another's address: %v, want a refusal", err)
	}
	ranges := []byte(`{"spec":{"podCIDR":"10.244.7.0/24","podCIDRs":["10.244.7.0/24"]}}`)
	node, err := nodes.Get(t.Context(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if node.Spec.PodCIDR == "" { // node-ipam gives it one sooner or later
		if _, err := nodes.Patch(t.Context(), "n1", types.MergePatchType, ranges, metav1.PatchOptions{}); err == nil {
			t.Error("a node chose its pod range")
		}
	}
	serving := certsv1.KubeletServingSignerName
	if got := request(t, client, serving, certsv1.UsageServerAuth, "n1", "172.18.0.2"); got != certsv1.CertificateApproved {
		t.Errorf("serving certificate for its own address: %s", got)
	}
	if got := request(t, client, serving, certsv1.UsageServerAuth, "n1", "172.18.0.3"); got != certsv1.CertificateDenied {
		t.Errorf("serving certificate for another's address: %s", got)
	}
	if list, err := client.CoreV1().Secrets("kube-system").List(t.Context(), metav1.ListOptions{}); err == nil {
		t.Errorf("a node lists %d tokens", len(list.Items))
	}
}

// request asks for a certificate of a node, for an address unless that is empty, and returns what was decided.
func request(t *testing.T, client kubernetes.Interface, signer string, usage certsv1.KeyUsage, node, address string) certsv1.RequestConditionType {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}}
	if address != "" {
		template.DNSNames, template.IPAddresses = []string{node}, []net.IP{net.ParseIP(address)}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	requests := client.CertificatesV1().CertificateSigningRequests()
	csr, err := requests.Create(t.Context(), &certsv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"},
		Spec: certsv1.CertificateSigningRequestSpec{
			Request: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), SignerName: signer,
			Usages: []certsv1.KeyUsage{certsv1.UsageDigitalSignature, usage},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); len(csr.Status.Conditions) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was decided about a certificate of %s for %q", node, address)
		}
		if csr, err = requests.Get(t.Context(), csr.Name, metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return csr.Status.Conditions[0].Type
}
