package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/statefile"

	certutil "k8s.io/client-go/util/cert"
)

// checkPKI verifies an existing PKI file by file and reissues the certificates that need it.
func checkPKI(l cluster.Layout, leaves []leaf, now time.Time) error {
	authorities := map[string]identity{}
	for _, name := range []string{clusterCA, frontProxyCA} {
		ca, err := readIdentity(l, name)
		if err != nil {
			return err
		}
		if now.After(ca.cert.NotAfter) {
			return cluster.Damaged(l, l.PKI(name+".crt"), fmt.Errorf("expired on %s", ca.cert.NotAfter.Format(time.DateOnly)))
		}
		if now.Before(ca.cert.NotBefore) {
			return notYetValid(l, name, ca.cert.NotBefore, now)
		}
		authorities[name] = ca
	}
	for _, leaf := range leaves {
		if err := checkLeaf(l, leaf, authorities[leaf.ca], now); err != nil {
			return err
		}
	}
	return checkServiceAccountKey(l)
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
func checkLeaf(l cluster.Layout, want leaf, ca identity, now time.Time) error {
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
	if have.cert.NotAfter.Sub(now) > renewBefore && !now.Before(have.cert.NotBefore) && want.covers(have.cert) {
		return nil
	}
	cert, err := want.issue(ca, &have.key.PublicKey, now)
	if err != nil {
		return &cluster.Error{Op: "renew certificate " + want.name, Err: err}
	}
	data, err := certutil.EncodeCertificates(cert)
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
	cert, err := readPEM(l, name+".crt", parseCert)
	if err != nil {
		return identity{}, err
	}
	key, err := readPEM(l, name+".key", parseKey)
	if err != nil {
		return identity{}, err
	}
	if public, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(&key.PublicKey) {
		return identity{}, cluster.Damaged(l, l.PKI(name+".key"), fmt.Errorf("does not belong to %s.crt", name))
	}
	return identity{cert, key}, nil
}

func checkServiceAccountKey(l cluster.Layout) error {
	key, err := readPEM(l, "sa.key", parseKey)
	if err != nil {
		return err
	}
	public, err := readPEM(l, "sa.pub", parsePublic)
	if err != nil {
		return err
	}
	if !public.Equal(&key.PublicKey) {
		return cluster.Damaged(l, l.PKI("sa.pub"), errors.New("does not belong to sa.key"))
	}
	return nil
}

func readPEM[T *x509.Certificate | *ecdsa.PrivateKey | *ecdsa.PublicKey](
	l cluster.Layout, file string, parse func([]byte) (T, error),
) (T, error) {
	data, err := statefile.Read(l.PKI(file))
	if err != nil {
		return nil, cluster.Damaged(l, l.PKI(file), err)
	}
	value, err := parse(data)
	if err != nil {
		return nil, cluster.Damaged(l, l.PKI(file), err)
	}
	return value, nil
}
