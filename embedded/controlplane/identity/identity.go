// Package identity makes API users for components of the control plane, so that each has rights of its own and none acts as
// the administrator.
package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// Request describes an identity.
type Request struct {
	User string // system:…, in no group but those of every user
	// Service is the host name of the identity's server on 127.0.0.1; empty if it is only a client.
	Service string
}

// Identity is a certificate and its key, PEM. Each run makes its own and keeps it in memory, so it is valid for as long as its
// authority.
type Identity struct {
	Cert, Key []byte

	user string
}

// New signs an identity with the certificate authority in two files.
func New(caFile, keyFile string, r Request, now time.Time) (Identity, error) {
	ca, err := tls.LoadX509KeyPair(caFile, keyFile)
	if err != nil {
		return Identity{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Identity{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return Identity{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: r.User},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              ca.Leaf.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if r.Service != "" {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		template.DNSNames, template.IPAddresses = []string{r.Service}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, &key.PublicKey, ca.PrivateKey)
	if err != nil {
		return Identity{}, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return Identity{}, err
	}
	return Identity{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
		user: r.User,
	}, nil
}

// Config signs an identity with the certificate authority in two files and returns a client configuration for it. The server
// is that of like, and so are those that are trusted to vouch for it, in like's CAFile.
func Config(like *rest.Config, caFile, keyFile string, r Request) (*rest.Config, error) {
	id, err := New(caFile, keyFile, r, time.Now())
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	trusted, err := os.ReadFile(like.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	return id.Config(like, trusted), nil
}

// Config returns a client configuration for the server of like, as this identity. ca is who may vouch for the server, PEM.
func (i Identity) Config(like *rest.Config, ca []byte) *rest.Config {
	c := rest.AnonymousClientConfig(like)
	c.TLSClientConfig = rest.TLSClientConfig{CAData: ca, CertData: i.Cert, KeyData: i.Key}
	c.UserAgent = i.user[strings.LastIndex(i.user, ":")+1:]
	return c
}

// clockSkew is how far a client's clock may be behind.
const clockSkew = 5 * time.Minute
