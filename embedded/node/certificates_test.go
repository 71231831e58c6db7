package node

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	certutil "k8s.io/client-go/util/cert"
)

func TestReadCertificates(t *testing.T) {
	dir := t.TempDir()
	if list, err := readCertificates("n1", dir); err != nil || len(list) != 0 {
		t.Errorf("of a new node: %v, %v", list, err)
	}
	cert, key, err := certutil.GenerateSelfSignedCertKey("n1", nil, []string{"n1.example"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kubelet-client-current.pem"), append(key, cert...), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := readCertificates("n1", dir)
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if got := list[0]; got.Name != "kubelet-client" || got.Node != "n1" || !strings.HasPrefix(got.Subject, "CN=n1@") || got.NotAfter.Before(time.Now()) ||
		!slices.Equal(got.Names, []string{"n1", "n1.example"}) {
		t.Errorf("got %+v", got)
	}
	damaged := filepath.Join(dir, "kubelet-server-current.pem")
	if err := os.WriteFile(damaged, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readCertificates("n1", dir); err == nil || !strings.Contains(err.Error(), damaged) {
		t.Errorf("of a damaged file: %v", err)
	}
}
