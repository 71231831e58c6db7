package host

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
)

func TestMachineCertificates(t *testing.T) {
	dir := t.TempDir()
	one := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("one")})
	two := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("two")})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("key")})
	write := func(name string, parts ...[]byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, bytes.Join(parts, []byte("# a comment\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	missing := filepath.Join(dir, "missing")
	for _, tt := range []struct {
		name    string
		named   string
		bundles []string
		want    []byte
		err     string
	}{
		{"the first that exists", "", []string{missing, write("a", one, two), write("b", two)}, append(bytes.Clone(one), two...), ""},
		{"the one that is named", write("c", two), []string{write("d", one)}, two, ""},
		{"no keys", write("e", one, secret, two), nil, append(bytes.Clone(one), two...), ""},
		{"no bundle", "", []string{missing}, nil, ""},
		{"one that is named and missing", missing, nil, nil, missing},
	} {
		got, err := machineCertificates(tt.named, tt.bundles)
		if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if !bytes.Equal(got, tt.want) {
			t.Errorf("%s: %s", tt.name, got)
		}
	}
	t.Setenv(certificateBundle, write("f", one))
	n := cluster.NodeSpec{NodeDir: filepath.Join(dir, "n1")}
	certs, err := trustedCertificates()
	if err != nil {
		t.Fatal(err)
	}
	if err := writeMachineCertificates(n, certs); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(n.NodeDir, "certs", "machine.crt")); err != nil || !bytes.Equal(got, one) {
		t.Errorf("the node gets %s, %v", got, err)
	}
}
