package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 365 * 24 * time.Hour
	renewBefore  = 30 * 24 * time.Hour // a leaf that expires sooner is reissued by the next up
	clockSkew    = 5 * time.Minute     // certificates begin this much in the past
)

// identity is a certificate and its private key.
type identity struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate // what follows the certificate in its file
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// newCA makes a self-signed authority.
func newCA(commonName string, now time.Time) (identity, error) {
	key, err := newKey()
	if err != nil {
		return identity{}, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caLifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		DNSNames:              []string{commonName},
	}
	cert, err := sign(template, template, &key.PublicKey, key)
	return identity{cert: cert, key: key}, err
}

// leaf describes a certificate that a CA issues.
type leaf struct {
	name   string // file name without extension
	ca     string // file name of the authority without extension
	cn     string
	org    []string
	dns    []string
	ips    []net.IP
	usages []x509.ExtKeyUsage
}

// issue signs a certificate for the public key as the leaf describes it. It does not outlive the authority.
func (l leaf) issue(ca identity, public *ecdsa.PublicKey, now time.Time) (*x509.Certificate, error) {
	end := now.Add(leafLifetime)
	if end.After(ca.cert.NotAfter) {
		end = ca.cert.NotAfter
	}
	return sign(&x509.Certificate{
		Subject:               pkix.Name{CommonName: l.cn, Organization: l.org},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              end,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           l.usages,
		BasicConstraintsValid: true,
		DNSNames:              l.dns,
		IPAddresses:           l.ips,
	}, ca.cert, public, ca.key)
}

// covers reports whether a certificate has the names, addresses and groups that the leaf asks for.
func (l leaf) covers(cert *x509.Certificate) bool {
	for _, name := range l.dns {
		if cert.VerifyHostname(name) != nil {
			return false
		}
	}
	for _, ip := range l.ips {
		if cert.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return cert.Subject.CommonName == l.cn && slices.Equal(cert.Subject.Organization, l.org)
}

func sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encodePublic(key *ecdsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyutil.PublicKeyBlockType, Bytes: der}), nil
}

// parseCert reads a file of one certificate.
func parseCert(data []byte) (*x509.Certificate, error) {
	certs, err := certutil.ParseCertsPEM(data)
	switch {
	case err != nil:
		return nil, err
	case len(certs) != 1:
		return nil, fmt.Errorf("%d certificates in one file", len(certs))
	}
	return certs[0], nil
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	key, err := keyutil.ParsePrivateKeyPEM(data)
	if err != nil {
		return nil, err
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return private, nil
}

// parsePublic reads a file of one public key.
func parsePublic(data []byte) (*ecdsa.PublicKey, error) {
	keys, err := keyutil.ParsePublicKeysPEM(data)
	if err != nil {
		return nil, err
	}
	public, ok := keys[0].(*ecdsa.PublicKey)
	if !ok || len(keys) != 1 {
		return nil, errors.New("not one ECDSA key")
	}
	return public, nil
}
