package host

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"
)

// certificateBundle is the variable that names another bundle than the machine's, as OpenSSL and Go read it.
const certificateBundle = "SSL_CERT_FILE"

// bundles are where systems keep the certificate authorities that the machine trusts, a company's own among them.
func bundles() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Arch, Alpine
		"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL
		"/etc/ssl/cert.pem",                                 // macOS, Alpine
	}
}

// machineCertificates returns the certificates that this machine trusts, for nodes that pull images: those of $SSL_CERT_FILE or,
// if that is not set, of the first bundle that can be read. Nothing but certificates is taken from the file.
func machineCertificates(named string, bundles []string) ([]byte, error) {
	files := bundles
	if named != "" {
		files = []string{named}
	}
	for _, file := range files {
		data, err := statefile.Read(file)
		switch {
		case err == nil:
			return onlyCertificates(data), nil
		case named != "":
			return nil, &cluster.Error{Op: "read certificate authorities", Err: err, Hint: "$" + certificateBundle + " names the file: mend it or unset it"}
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("read certificate authorities: %w", err)
		}
	}
	return nil, nil
}

// trustedCertificates is machineCertificates of this machine and environment.
func trustedCertificates() ([]byte, error) {
	return machineCertificates(os.Getenv(certificateBundle), bundles())
}

func onlyCertificates(data []byte) []byte {
	var out bytes.Buffer
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			out.Write(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
		}
	}
	return out.Bytes()
}

// writeMachineCertificates puts trustedCertificates into a node's directory.
func writeMachineCertificates(n cluster.NodeSpec, certs []byte) error {
	file := filepath.Join(n.NodeDir, filepath.Base(cluster.NodeCertsDir), "machine.crt")
	if err := statefile.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return statefile.Replace(file, certs, 0o600)
}
