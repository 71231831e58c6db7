package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/klkube/kl/cluster"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// authority is a certificate authority that issues, with the one that it replaced, as far as that is still trusted.
type authority struct {
	identity
	// cross is the authority's name and key in a certificate of the old one. Whoever trusts the old one alone accepts through it what
	// the new one issues. Nil if there is no old one.
	cross *x509.Certificate
	old   *x509.Certificate // nil if there is none
}

// chain is what the authority's certificates are followed by in their files.
func (a authority) chain() []*x509.Certificate {
	if a.cross == nil {
		return nil
	}
	return []*x509.Certificate{a.cross}
}

// successor makes an authority that takes the place of old, under a name of its own: some libraries look for issuers by name alone.
func successor(old identity, now time.Time) (authority, error) {
	next, err := newCA(nextName(old.cert.Subject.CommonName), now)
	if err != nil {
		return authority{}, err
	}
	end := next.cert.NotAfter
	if end.After(old.cert.NotAfter) {
		end = old.cert.NotAfter
	}
	cross, err := sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: next.cert.Subject.CommonName},
		NotBefore:             next.cert.NotBefore,
		NotAfter:              end,
		KeyUsage:              next.cert.KeyUsage,
		BasicConstraintsValid: true,
		IsCA:                  true,
		SubjectKeyId:          next.cert.SubjectKeyId,
		DNSNames:              next.cert.DNSNames,
	}, old.cert, &next.key.PublicKey, old.key)
	return authority{next, cross, old.cert}, err
}

var generation = regexp.MustCompile(`^(.+)-([1-9][0-9]{0,8})$`)

// nextName counts: kubernetes, kubernetes-2, kubernetes-3.
func nextName(name string) string {
	if m := generation.FindStringSubmatch(name); m != nil {
		if n, err := strconv.Atoi(m[2]); err == nil {
			return fmt.Sprintf("%s-%d", m[1], n+1)
		}
	}
	return name + "-2"
}

// readAuthority reads an authority. rotated says that an old one is still trusted: then its files must be there.
func readAuthority(l cluster.Layout, name string, rotated bool) (authority, error) {
	id, err := readIdentity(l, name)
	a := authority{identity: id}
	if err != nil {
		return a, err
	}
	if len(id.chain) > 0 {
		return a, cluster.Damaged(l, l.PKI(name+".crt"), fmt.Errorf("%d certificates in one file", 1+len(id.chain)))
	}
	if !rotated {
		return a, nil
	}
	trust, err := readPEM(l, name+"-trust.crt", certutil.ParseCertsPEM)
	if err != nil {
		return a, err
	}
	if len(trust) != 2 || !trust[0].Equal(id.cert) {
		return a, cluster.Damaged(l, l.PKI(name+"-trust.crt"), fmt.Errorf("it does not hold %s.crt and the one before", name))
	}
	a.old = trust[1]
	if a.cross, err = readPEM(l, name+"-cross.crt", parseCert); err != nil {
		return a, err
	}
	if err := a.cross.CheckSignatureFrom(a.old); err != nil || !bytes.Equal(a.cross.RawSubjectPublicKeyInfo, id.cert.RawSubjectPublicKeyInfo) {
		return a, cluster.Damaged(l, l.PKI(name+"-cross.crt"), fmt.Errorf("it is not %s.crt, signed by the one before", name))
	}
	return a, nil
}

// write writes all files of an authority.
func (a authority) write(dir, name string) error {
	if err := writeIdentity(dir, name, a.identity); err != nil || a.cross == nil {
		return err
	}
	if err := writeCerts(dir, name+"-cross.crt", a.cross); err != nil {
		return err
	}
	return writeCerts(dir, name+"-trust.crt", a.cert, a.old)
}

// tokenKeys is the key that signs the tokens of ServiceAccounts, and the one that did before, if its tokens are still accepted.
type tokenKeys struct {
	key *ecdsa.PrivateKey
	old *ecdsa.PublicKey // nil if there is none
}

func newTokenKeys(old *ecdsa.PublicKey) (tokenKeys, error) {
	key, err := newKey()
	return tokenKeys{key, old}, err
}

// readTokenKeys reads the keys. rotated says that tokens of an old one are accepted: then its file must be there.
func readTokenKeys(l cluster.Layout, rotated bool) (tokenKeys, error) {
	key, err := readPEM(l, "sa.key", parseKey)
	if err != nil {
		return tokenKeys{}, err
	}
	public, err := readPEM(l, "sa.pub", parsePublic)
	if err != nil {
		return tokenKeys{}, err
	}
	if !public.Equal(&key.PublicKey) {
		return tokenKeys{}, cluster.Damaged(l, l.PKI("sa.pub"), fmt.Errorf("does not belong to sa.key"))
	}
	if !rotated {
		return tokenKeys{key: key}, nil
	}
	keys, err := readPEM(l, "sa-trust.pub", keyutil.ParsePublicKeysPEM)
	if err != nil {
		return tokenKeys{}, err
	}
	var old *ecdsa.PublicKey
	if len(keys) == 2 && key.PublicKey.Equal(keys[0]) {
		old, _ = keys[1].(*ecdsa.PublicKey)
	}
	if old == nil {
		return tokenKeys{}, cluster.Damaged(l, l.PKI("sa-trust.pub"), fmt.Errorf("it does not hold sa.pub and the one before"))
	}
	return tokenKeys{key, old}, nil
}
