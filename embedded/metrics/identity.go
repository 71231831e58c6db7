package metrics

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"

	"k8s.io/client-go/rest"
)

// serviceName is what the API server expects of the serving certificate.
const serviceName = "metrics-server.kube-system.svc"

// identity is a certificate, PEM, with which the server both serves and asks. It is made anew by every run and is never
// on disk, so it may live as long as its authority.
type identity struct {
	cert, key []byte
}

func newIdentity(caFile, keyFile string, now time.Time) (identity, error) {
	ca, err := tls.LoadX509KeyPair(caFile, keyFile)
	if err != nil {
		return identity{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return identity{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return identity{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: user},
		NotBefore:             now.Add(-5 * time.Minute), // clocks differ
		NotAfter:              ca.Leaf.NotAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{serviceName},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, &key.PublicKey, ca.PrivateKey)
	if err != nil {
		return identity{}, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return identity{}, err
	}
	return identity{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
	}, nil
}

// config reaches the server that another configuration reaches, as this identity.
func (i identity) config(like *rest.Config, ca []byte) *rest.Config {
	c := rest.AnonymousClientConfig(like)
	c.TLSClientConfig = rest.TLSClientConfig{CAData: ca, CertData: i.cert, KeyData: i.key}
	c.UserAgent = "metrics-server"
	return c
}
