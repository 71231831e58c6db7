package node

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/klkube/kl/cluster"
)

// readCertificates reads the certificates of the kubelet in dir. One that it does not have yet is left out.
func readCertificates(node, dir string) ([]cluster.Certificate, error) {
	var out []cluster.Certificate
	var errs []error
	for _, name := range []string{"kubelet-client", "kubelet-server"} {
		file := filepath.Join(dir, name+"-current.pem")
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c, err := cluster.ParseCertificate(name, file, data)
		if err != nil {
			errs = append(errs, &os.PathError{Op: "read", Path: file, Err: err})
			continue
		}
		c.Node = node
		out = append(out, c)
	}
	return out, errors.Join(errs...)
}
