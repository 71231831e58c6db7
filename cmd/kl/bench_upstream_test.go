//go:build e2e

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// upstream is etcd and kube-apiserver as two processes, the way envtest starts them: what a start of kl is compared with. Both are
// built from the modules of go.mod, as Kubernetes builds them. The time that they take to /readyz is U.
type upstream struct {
	u               *user
	etcd, apiserver string // programs
	key             string // file with the key of ServiceAccounts' tokens
}

// newUpstream builds the programs, or finds that they are up to date. The first time takes a minute.
func newUpstream(u *user) *upstream {
	u.b.Helper()
	dir := filepath.Join(u.h.source, ".cache", "upstream")
	s := &upstream{u: u, etcd: filepath.Join(dir, "etcd"), apiserver: filepath.Join(dir, "kube-apiserver"), key: filepath.Join(u.home, "sa.key")}
	for program, pkg := range map[string]string{s.etcd: "./testdata/separate/etcd", s.apiserver: "k8s.io/kubernetes/cmd/kube-apiserver"} {
		build := u.command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, pkg)
		build.Dir, build.Env = u.h.source, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			u.b.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		u.b.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		u.b.Fatal(err)
	}
	if err := os.WriteFile(s.key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		u.b.Fatal(err)
	}
	return s
}

// run starts both over an empty directory, waits until /readyz is ok, and kills them. It returns how long that took from before the
// start of etcd, and the anonymous memory of both then.
func (s *upstream) run() (took time.Duration, memory int64) {
	b := s.u.b
	b.Helper()
	dir, err := os.MkdirTemp(s.u.home, "upstream")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ports := freePorts(s.u, 3)
	client, peer := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	began := time.Now()
	etcd := s.start(filepath.Join(dir, "etcd.log"), s.etcd, filepath.Join(dir, "etcd"), client, peer)
	defer etcd.kill()
	// It refuses to advertise 127.0.0.1, and nobody connects to what it does advertise, an address of documentation.
	apiserver := s.start(filepath.Join(dir, "apiserver.log"), s.apiserver, "--etcd-servers="+client, "--bind-address=127.0.0.1",
		"--advertise-address=192.0.2.1", "--secure-port="+ports[2], "--cert-dir="+filepath.Join(dir, "certs"),
		"--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC", "--service-account-issuer=https://localhost",
		"--service-account-key-file="+s.key, "--service-account-signing-key-file="+s.key)
	defer apiserver.kill()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(2 * time.Minute)
	for !readyz("https://127.0.0.1:" + ports[2] + "/readyz") {
		select {
		case <-tick.C:
		case <-etcd.exited:
			b.Fatalf("etcd exited: %s", etcd.lastWords())
		case <-apiserver.exited:
			b.Fatalf("kube-apiserver exited: %s", apiserver.lastWords())
		case <-limit:
			b.Fatalf("kube-apiserver is not ready after two minutes: %s", apiserver.lastWords())
		}
	}
	return time.Since(began), anonymousMemory([]string{etcd.pid(), apiserver.pid()})
}

// readyz reports whether the server answers that it is ready. Its certificate is of its own making.
func readyz(url string) bool {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	resp, err := (&http.Client{Timeout: 5 * time.Second, Transport: transport}).Get(url)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK && string(body) == "ok"
}

// freePorts finds ports of 127.0.0.1 that nobody listens on.
func freePorts(u *user, n int) []string {
	u.b.Helper()
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			u.b.Fatal(err)
		}
		defer l.Close() // once all are found, so that each is another one
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

// server is a program that runs until it is killed.
type server struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{}
}

func (s *upstream) start(log, program string, args ...string) *server {
	s.u.b.Helper()
	f, err := os.Create(log)
	if err != nil {
		s.u.b.Fatal(err)
	}
	defer f.Close()
	p := &server{cmd: exec.Command(program, args...), log: log, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = f, f
	if err := p.cmd.Start(); err != nil {
		s.u.b.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // it is killed
		close(p.exited)
	}()
	return p
}

func (p *server) pid() string { return strconv.Itoa(p.cmd.Process.Pid) }

func (p *server) kill() {
	_ = p.cmd.Process.Kill() // it may have exited
	<-p.exited
}

// lastWords is the end of the log.
func (p *server) lastWords() string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(data[max(0, len(data)-2000):])
}
