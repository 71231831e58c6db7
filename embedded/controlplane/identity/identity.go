// Package identity makes users of the API for components of the control plane, so that each has its own rights and none
// is the administrator.
//
//	// reaches what the administrator's configuration reaches, as that user
//	own, err := identity.Config(admin, layout.PKI("ca.crt"), layout.PKI("ca.key"), identity.Request{User: "system:metrics-server"})
package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Request is who somebody is to be.
type Request struct {
	User string // system:…; a member of no group but those of every user
	// Service is the host name under which the identity also serves on 127.0.0.1; empty if it only asks.
	Service string
}

// Identity is a certificate, PEM. It is made anew by every run and is never on disk, so it may live as long as its
// authority.
type Identity struct {
	Cert, Key []byte

	user string
}

// New signs an identity with the authority in two files.
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
		NotBefore:             now.Add(-5 * time.Minute), // clocks differ
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

// Config signs an identity with the authority in two files, whose server it also is, and reaches as it what another
// configuration reaches.
func Config(like *rest.Config, caFile, keyFile string, r Request) (*rest.Config, error) {
	id, err := New(caFile, keyFile, r, time.Now())
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	return id.Config(like, ca), nil
}

// Config reaches the server that another configuration reaches, as this identity. ca is the server's authority, PEM.
func (i Identity) Config(like *rest.Config, ca []byte) *rest.Config {
	c := rest.AnonymousClientConfig(like)
	c.TLSClientConfig = rest.TLSClientConfig{CAData: ca, CertData: i.Cert, KeyData: i.Key}
	c.UserAgent = i.user[strings.LastIndex(i.user, ":")+1:]
	return c
}

const (
	awaitTimeout  = 15 * time.Second
	awaitInterval = 10 * time.Millisecond
)

// Await returns when the server answers a GET of path, such as "/api/v1/nodes?limit=1". It takes the API server a moment to
// know of new rights, and an informer that is refused backs off for a second.
func Await(ctx context.Context, c *rest.Config, path string) error {
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, awaitTimeout)
	defer cancel()
	var last error
	err = wait.PollUntilContextCancel(ctx, awaitInterval, true, func(ctx context.Context) (bool, error) {
		last = client.CoreV1().RESTClient().Get().RequestURI(path).Do(ctx).Error()
		return last == nil, nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}
