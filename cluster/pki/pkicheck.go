package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	certutil "k8s.io/client-go/util/cert"
)

// checkPKI verifies an existing PKI file by file and reissues the certificates that need it.
func checkPKI(l cluster.Layout, leaves []leaf, now time.Time) error {
	have, err := readSet(l)
	if err != nil {
		return err
	}
	for _, name := range []string{clusterCA, frontProxyCA} {
		ca := have.authorities[name]
		if now.After(ca.cert.NotAfter) {
			return cluster.Damaged(l, l.PKI(name+".crt"), fmt.Errorf("expired on %s", ca.cert.NotAfter.Format(time.DateOnly)))
		}
		if now.Before(ca.cert.NotBefore) {
			return notYetValid(l, name, ca.cert.NotBefore, now)
		}
	}
	for _, leaf := range leaves {
		if err := checkLeaf(l, leaf, have.authorities[leaf.ca], now); err != nil {
			return err
		}
	}
	return nil
}

// readSet reads authorities and keys, and checks that they are whole and belong together.
func readSet(l cluster.Layout) (set, error) {
	s := set{authorities: map[string]authority{}}
	rotation, err := cluster.ReadRotation(l)
	if err != nil {
		return s, err
	}
	rotated := !rotation.Replaced.IsZero()
	for _, name := range []string{clusterCA, frontProxyCA} {
		if !rotated && l.Trust(name) != l.PKI(name+".crt") { // who is trusted goes by these two files
			return s, cluster.Damaged(l, l.RotationFile(), fmt.Errorf("it does not say that there are old authorities, but %s does", l.Trust(name)))
		}
		if s.authorities[name], err = readAuthority(l, name, rotated); err != nil {
			return s, err
		}
	}
	s.keys, err = readTokenKeys(l, rotated)
	return s, err
}

// notYetValid is the error for an authority of the future. A new one would lock every node and user out, and the clock may
// be what is wrong.
func notYetValid(l cluster.Layout, name string, begin, now time.Time) error {
	return &cluster.Error{
		Op: "use certificate authority " + l.PKI(name+".crt"),
		Err: fmt.Errorf("it is valid from %s, and this machine's clock says %s",
			begin.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)),
		Hint: fmt.Sprintf("set the clock, or, if it was ahead when the cluster was made, make the cluster anew: 'kl down --name %s'", l.Name),
	}
}

// checkLeaf reissues a certificate that is about to expire, is of the future (the clock was ahead when it was issued) or is
// not what the leaf asks for. A pair of which nothing exists is one that an older kl did not make.
func checkLeaf(l cluster.Layout, want leaf, ca authority, now time.Time) error {
	if missing(l.PKI(want.name+".crt")) && missing(l.PKI(want.name+".key")) {
		if err := want.write(filepath.Dir(l.PKI("x")), ca, now); err != nil {
			return &cluster.Error{Op: "make certificate " + want.name, Err: err}
		}
		return nil
	}
	have, err := readIdentity(l, want.name)
	if err != nil {
		return err
	}
	if err := have.cert.CheckSignatureFrom(ca.cert); err != nil {
		return cluster.Damaged(l, l.PKI(want.name+".crt"), fmt.Errorf("not issued by %s.crt: %w", want.ca, err))
	}
	whole := slices.EqualFunc(have.chain, ca.chain(), (*x509.Certificate).Equal)
	if whole && have.cert.NotAfter.Sub(now) > renewBefore && !now.Before(have.cert.NotBefore) && want.covers(have.cert) {
		return nil
	}
	cert, err := want.issue(ca.identity, &have.key.PublicKey, now)
	if err != nil {
		return &cluster.Error{Op: "renew certificate " + want.name, Err: err}
	}
	data, err := certutil.EncodeCertificates(append([]*x509.Certificate{cert}, ca.chain()...)...)
	if err == nil {
		err = statefile.Write(l.PKI(want.name+".crt"), data, 0o600)
	}
	if err != nil {
		return &cluster.Error{Op: "renew certificate " + want.name, Err: err}
	}
	return nil
}

func missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// readIdentity reads name.crt and name.key and checks that they belong together.
func readIdentity(l cluster.Layout, name string) (identity, error) {
	certs, err := readPEM(l, name+".crt", certutil.ParseCertsPEM) // one or more
	if err != nil {
		return identity{}, err
	}
	cert := certs[0]
	key, err := readPEM(l, name+".key", parseKey)
	if err != nil {
		return identity{}, err
	}
	if public, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(&key.PublicKey) {
		return identity{}, cluster.Damaged(l, l.PKI(name+".key"), fmt.Errorf("does not belong to %s.crt", name))
	}
	return identity{cert, key, certs[1:]}, nil
}

func readPEM[T any](l cluster.Layout, file string, parse func([]byte) (T, error)) (T, error) {
	var value T
	data, err := statefile.Read(l.PKI(file))
	if err == nil {
		value, err = parse(data)
	}
	if err != nil {
		return value, cluster.Damaged(l, l.PKI(file), err)
	}
	return value, nil
}
