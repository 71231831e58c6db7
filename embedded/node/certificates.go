package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	certutil "k8s.io/client-go/util/cert"

	"github.com/klkube/kl/cluster"
)

// kubeletCertificates are the names of the kubelet's certificates.
func kubeletCertificates() []string { return []string{"kubelet-client", "kubelet-server"} }

// current is the file of a certificate and its key: a link to the newest.
func current(dir, name string) string { return filepath.Join(dir, name+"-current.pem") }

// readCertificates reads the certificates of the kubelet in dir. One that it does not have yet is left out.
func readCertificates(node, dir string) ([]cluster.Certificate, error) {
	var out []cluster.Certificate
	var errs []error
	for _, name := range kubeletCertificates() {
		file := current(dir, name)
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
		if info, err := os.Stat(file); err == nil { // else the kubelet is just replacing it
			c.Written = info.ModTime()
		}
		out = append(out, c)
	}
	return out, errors.Join(errs...)
}

// outdated reports whether a certificate of the kubelet was issued before a certain time, or not by the authority that issues now: the
// first in caFile.
func outdated(file, caFile string, renewBefore time.Time) (bool, error) {
	info, err := os.Stat(file)
	if err != nil {
		return false, err
	}
	if info.ModTime().Before(renewBefore) {
		return true, nil
	}
	certs, err := certutil.CertsFromFile(file)
	if err != nil {
		return false, err
	}
	authorities, err := certutil.CertsFromFile(caFile)
	if err != nil {
		return false, fmt.Errorf("read the cluster's certificate authority: %w", err)
	}
	return certs[0].CheckSignatureFrom(authorities[0]) != nil, nil
}

// dropOutdated makes the kubelet ask for new certificates in place of outdated ones. Its program does so before anything uses them.
func dropOutdated(dir, caFile string, renewBefore time.Time) error {
	var errs []error
	for _, name := range kubeletCertificates() {
		old, err := outdated(current(dir, name), caFile, renewBefore)
		if err == nil && old {
			err = os.Remove(current(dir, name))
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
