//go:build e2e

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands are the commands of scripts in addition to testscript's.
func (h *harness) commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"cluster":      h.clusterCommand,
		"images":       h.imagesCommand,
		"registry":     h.registryCommand,
		"push":         pushCommand,
		"eventually":   eventually,
		"freeport":     freePort,
		"occupy":       occupy,
		"release":      release,
		"signal":       signalCommand,
		"machine":      machineCommand,
		"webhookcerts": webhookCerts,
		"setenv":       setenv,
		"balancer":     balancerCommand,
		"outage":       outageCommand,
		"mesh":         meshCommand,
		"truth":        truthCommand,
		"screen":       screenCommand,
		"disk":         diskCommand,
		"users":        usersCommand,
		"intrude":      intrudeCommand,
		"svg":          svgCommand,
		"quick":        h.quickCommand,
	}
}

// quickCommand is "quick DRIVER": a quick run, which has KL_E2E_QUICK set and runs scripts with both drivers side by side, runs this
// script with this driver alone.
func (h *harness) quickCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || !slices.Contains([]string{"docker", "embedded"}, args[0]) {
		ts.Fatalf("usage: quick docker|embedded")
	}
	if os.Getenv("KL_E2E_QUICK") != "" && h.driver != args[0] {
		scriptOf(ts).t.Skipf("in a quick run with driver %s alone", args[0])
	}
}

// imagesCommand is "images": sets $IMAGES to the directory with the test images.
func (h *harness) imagesCommand(ts *testscript.TestScript, _ bool, _ []string) {
	dir, err := h.images()
	ts.Check(err)
	ts.Setenv("IMAGES", dir)
}

// eventually is "[!] eventually TIMEOUT PROGRAM ARGS…": runs the program until it succeeds, or with ! until it fails.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: eventually TIMEOUT PROGRAM ARGS…")
	}
	timeout, err := time.ParseDuration(args[0])
	ts.Check(err)
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if (err == nil) != neg {
			return
		}
		if time.Since(began) > timeout {
			ts.Fatalf("not within %s: %v", timeout, err)
		}
	}
}

// freePort is "freeport VARIABLE": sets the variable to a port that no process listens on.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Setenv(args[0], port)
}

// listeners are the ports that a script occupies.
type listeners map[string]net.Listener

// occupy is "occupy PORT": listens on it until "release PORT" or the end of the script.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:"+args[0])
	ts.Check(err)
	scriptOf(ts).listeners[args[0]] = l
	ts.Defer(func() { l.Close() })
}

func release(ts *testscript.TestScript, _ bool, args []string) {
	l := scriptOf(ts).listeners[args[0]]
	if l == nil {
		ts.Fatalf("port %s is not occupied", args[0])
	}
	ts.Check(l.Close())
}

// signalCommand is "signal SIGNAL PID". testscript's kill signals only what testscript started.
func signalCommand(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	pid, err := strconv.Atoi(args[1])
	if err != nil || pid <= 1 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal INT|TERM|KILL PID")
	}
	ts.Check(syscall.Kill(pid, signals[args[0]]))
}

// setenv is "setenv VARIABLE FILE": sets the variable to the file's first line. The file stdout is the output of the last
// command.
func setenv(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], firstLine(ts.ReadFile(args[1])))
}

func firstLine(s string) string {
	for i, c := range s {
		if c == '\n' {
			return s[:i]
		}
	}
	return s
}

// webhookCerts is "webhookcerts SERVICE NAMESPACE": writes tls.crt and tls.key for the Service and sets $CA_BUNDLE.
func webhookCerts(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	cert := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: args[0]},
		DNSNames:              []string{args[0] + "." + args[1] + ".svc"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	ts.Check(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	ts.Check(err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	ts.Check(os.WriteFile(ts.MkAbs("tls.crt"), certPEM, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("tls.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600))
	ts.Setenv("CA_BUNDLE", base64.StdEncoding.EncodeToString(certPEM))
}
