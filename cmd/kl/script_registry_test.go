//go:build e2e

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
)

// registryCommand is "registry FILE [USER PASSWORD]": a registry with image busybox:1 on every address of this machine, port
// $REGISTRY_PORT, until "release $REGISTRY_PORT" or the end of the script. Its certificates are signed by an authority of its own, which
// is written to the file. With a user and password, it wants these.
func (h *harness) registryCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 && len(args) != 3 {
		ts.Fatalf("usage: registry FILE [USER PASSWORD]")
	}
	images, err := h.images()
	ts.Check(err)
	store := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	ts.Check(fillRegistry(store, filepath.Join(images, "busybox.tar")))

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	authority, err := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "a company"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign}, nil, key, key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw}), 0o600))

	listener, err := net.Listen("tcp4", "0.0.0.0:0") //nolint:gosec // nodes reach the machine at different addresses
	ts.Check(err)
	server := &http.Server{Handler: private(store, args[1:]), ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	server.TLSConfig = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		address, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
		if err != nil {
			return nil, err
		}
		leaf, err := sign(&x509.Certificate{
			IPAddresses: []net.IP{net.ParseIP(address)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, authority, key, key)
		if err != nil {
			return nil, err
		}
		return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}, nil
	}}
	go func() { _ = server.ServeTLS(listener, "", "") }() // ends when the server is closed
	ts.Defer(func() { server.Close() })
	_, port, err := net.SplitHostPort(listener.Addr().String())
	ts.Check(err)
	ts.Setenv("REGISTRY_PORT", port)
	scriptOf(ts).listeners[port] = stopper{listener, server}
}

// stopper is the listener of a server, which ends with its connections when the listener is closed.
type stopper struct {
	net.Listener
	server *http.Server
}

func (s stopper) Close() error { return s.server.Close() }

// private has a registry want a user and password, unless there are none.
func private(registry http.Handler, who []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); len(who) > 0 && (user != who[0] || password != who[1]) {
			w.Header().Set("WWW-Authenticate", `Basic realm="a registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		registry.ServeHTTP(w, r)
	})
}

// pushCommand is "push ARCHIVE NAME": pushes the only image of a docker-archive to a registry without TLS, with a Go client, and sets
// $DIGEST to its digest.
func pushCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: push ARCHIVE NAME")
	}
	image, err := tarball.ImageFromPath(ts.MkAbs(args[0]), nil)
	ts.Check(err)
	to, err := name.NewTag(args[1])
	ts.Check(err)
	ts.Check(remote.Write(to, image))
	digest, err := image.Digest()
	ts.Check(err)
	ts.Setenv("DIGEST", digest.String())
}

// sign makes a certificate that is valid today. Without an issuer it is self-signed.
func sign(cert, issuer *x509.Certificate, key, issuerKey *ecdsa.PrivateKey) (*x509.Certificate, error) {
	cert.SerialNumber, cert.BasicConstraintsValid = big.NewInt(time.Now().UnixNano()), true
	cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if issuer == nil {
		issuer = cert
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, issuer, key.Public(), issuerKey)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// fillRegistry pushes the image of an archive as busybox:1.
func fillRegistry(store http.Handler, archive string) error {
	image, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return err
		}
		blob, err := layer.Compressed()
		if err != nil {
			return err
		}
		if err := push(store, http.MethodPost, "/v2/busybox/blobs/uploads/?digest="+digest.String(), "", blob); err != nil {
			return err
		}
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	digest, err := image.ConfigName()
	if err != nil {
		return err
	}
	if err := push(store, http.MethodPost, "/v2/busybox/blobs/uploads/?digest="+digest.String(), "", bytes.NewReader(config)); err != nil {
		return err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	kind, err := image.MediaType()
	if err != nil {
		return err
	}
	return push(store, http.MethodPut, "/v2/busybox/manifests/1", string(kind), bytes.NewReader(manifest))
}

func push(store http.Handler, method, path, kind string, body io.Reader) error {
	r := httptest.NewRequest(method, path, body)
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	if store.ServeHTTP(w, r); w.Code != http.StatusCreated {
		return fmt.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return nil
}
