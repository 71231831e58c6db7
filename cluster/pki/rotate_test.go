package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"

	"k8s.io/client-go/util/keyutil"
)

// rotated is a cluster whose PKI has been rotated, each time from one state to the next.
type rotated struct {
	cluster.Layout
	t   *testing.T
	now time.Time
}

func newRotated(t *testing.T) *rotated {
	t.Helper()
	r := &rotated{testLayout(t), t, time.Now()}
	r.ensure()
	return r
}

func (r *rotated) ensure() {
	r.t.Helper()
	if err := Ensure(r.Layout, cluster.DefaultSpec().Networking, r.now); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rotated) rotate(kind cluster.RotationKind) {
	r.t.Helper()
	err := Prepare(r.Layout, cluster.DefaultSpec().Networking, kind, r.now)
	if err == nil {
		err = errors.Join(Switch(r.Layout, r.now), Finish(r.Layout))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.ensure()
}

// peer is one end of a connection, as it was when it read its files.
type peer struct {
	pair  tls.Certificate
	trust *x509.CertPool
}

// peer reads a certificate and whom its owner trusts.
func (r *rotated) peer(leaf, ca string) peer {
	r.t.Helper()
	pair, err := tls.LoadX509KeyPair(r.PKI(leaf+".crt"), r.PKI(leaf+".key"))
	if err != nil {
		r.t.Fatal(err)
	}
	data, err := os.ReadFile(r.Trust(ca))
	if err != nil {
		r.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(data)
	return peer{pair, pool}
}

// connect makes a connection in which both ends check each other.
func connect(server, client peer, name string) error {
	s, c := net.Pipe()
	defer c.Close()
	done := make(chan error, 1)
	go func() {
		defer s.Close()
		conn := tls.Server(s, &tls.Config{Certificates: []tls.Certificate{server.pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: server.trust, MinVersion: tls.VersionTLS13})
		err := conn.Handshake()
		if err == nil {
			_, err = conn.Write([]byte("x"))
		}
		done <- err
	}()
	conn := tls.Client(c, &tls.Config{Certificates: []tls.Certificate{client.pair}, RootCAs: client.trust, ServerName: name, MinVersion: tls.VersionTLS13})
	_, err := io.ReadFull(conn, make([]byte, 1))
	_ = c.Close()
	if serverErr := <-done; err == nil {
		err = serverErr
	}
	return err
}

// TestRotation connects clients and servers that have read their files before and after a rotation, in both directions and under
// both authorities.
func TestRotation(t *testing.T) {
	for _, pair := range []struct{ server, client, ca, name string }{
		{"apiserver", "admin", clusterCA, "kubernetes.default.svc"},
		{"tunnel", "admin", clusterCA, cluster.TunnelServerName},
		{"scheduler", "apiserver-kubelet-client", clusterCA, "localhost"}, // as a kubelet is asked
	} {
		t.Run(pair.server, func(t *testing.T) {
			r := newRotated(t)
			read := func() (server, client peer) { return r.peer(pair.server, pair.ca), r.peer(pair.client, pair.ca) }
			check := func(what string, server, client peer, want bool) {
				t.Helper()
				if err := connect(server, client, pair.name); (err == nil) != want {
					t.Errorf("%s: connected is %v, want %v: %v", what, err == nil, want, err)
				}
			}
			oldServer, oldClient := read()
			r.rotate(cluster.RotateLeaves)
			server, client := read()
			check("new certificates, old server", oldServer, client, true)
			check("new certificates, old client", server, oldClient, true)
			r.rotate(cluster.RotateAuthorities)
			server, client = read()
			check("both", server, client, true)
			check("the client knows the old authority alone", server, oldClient, true)
			check("the server knows the old authority alone", oldServer, client, true)
			onlyNew := client
			onlyNew.trust = x509.NewCertPool()
			onlyNew.trust.AddCert(r.authority(pair.ca).cert)
			check("the client knows the new authority alone", server, onlyNew, true)
			r.rotate(cluster.RotateLeaves)
			again, _ := read()
			check("new certificates, and the client knows the old authority alone", again, oldClient, true)
			r.rotate(cluster.RetireAuthorities)
			retired, _ := read()
			check("retired", retired, client, true)
			check("retired, and the client knows the new authority alone", retired, onlyNew, true)
			check("retired, and the client knows the old authority alone", retired, oldClient, false)
			oldButTrusting := oldClient
			oldButTrusting.trust = onlyNew.trust
			check("retired, and the client has an old certificate", retired, oldButTrusting, false)
			r.rotate(cluster.RotateAuthorities)
			third, _ := read()
			check("rotated once more", third, client, true)
			check("rotated once more, and the client is of the first authority", third, oldClient, false)
		})
	}
}

func (r *rotated) authority(name string) authority {
	r.t.Helper()
	s, err := readSet(r.Layout)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.authorities[name]
}

// TestFrontProxyRotation checks the certificate that the API server shows to extension API servers.
func TestFrontProxyRotation(t *testing.T) {
	r := newRotated(t)
	verify := func(server, proxy peer) error {
		chain := x509.NewCertPool()
		for _, der := range proxy.pair.Certificate[1:] {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			chain.AddCert(cert)
		}
		_, err := proxy.pair.Leaf.Verify(x509.VerifyOptions{Roots: server.trust, Intermediates: chain, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		return err
	}
	old := r.peer("front-proxy-client", frontProxyCA)
	r.rotate(cluster.RotateAuthorities)
	now := r.peer("front-proxy-client", frontProxyCA)
	for _, c := range [][2]peer{{old, now}, {now, old}, {now, now}} {
		if err := verify(c[0], c[1]); err != nil {
			t.Error(err)
		}
	}
	if err := verify(r.peer("apiserver", clusterCA), now); err == nil {
		t.Error("the cluster's authority vouches for the front proxy")
	}
	r.rotate(cluster.RetireAuthorities)
	if err := verify(r.peer("front-proxy-client", frontProxyCA), old); err == nil {
		t.Error("the old certificate is still accepted")
	}
}

// TestRotationChanges lists what each kind of rotation makes anew and keeps.
func TestRotationChanges(t *testing.T) {
	r := newRotated(t)
	files := func() (map[string]string, []string) {
		all := readPKI(t, r.Layout)
		delete(all, "rotation.json")
		var names []string
		for name := range all {
			names = append(names, name)
		}
		slices.Sort(names)
		return all, names
	}
	before, first := files()
	changed := func(kind cluster.RotationKind) (names []string) {
		r.rotate(kind)
		now, _ := files()
		for name := range before {
			if now[name] != before[name] {
				names = append(names, name)
			}
		}
		before = now
		slices.Sort(names)
		return names
	}
	leaves := slices.DeleteFunc(slices.Clone(first), func(n string) bool { return strings.Contains(n, "ca.") || strings.HasPrefix(n, "sa.") })
	if diff := cmp.Diff(leaves, changed(cluster.RotateLeaves)); diff != "" {
		t.Errorf("certificates: %s", diff)
	}
	oldKey := before["ca.key"]
	if diff := cmp.Diff(first, changed(cluster.RotateAuthorities)); diff != "" {
		t.Errorf("authorities: %s", diff)
	}
	for name, text := range before {
		if strings.Contains(text, oldKey) {
			t.Errorf("%s has the old authority's key", name)
		}
	}
	if keys, err := keyutil.ParsePublicKeysPEM([]byte(before["sa-trust.pub"])); err != nil || len(keys) != 2 || keys[0].(*ecdsa.PublicKey).Equal(keys[1]) {
		t.Errorf("keys of tokens: %v, %v", keys, err)
	}
	if ca := r.authority(clusterCA).cert.Subject.CommonName; ca != "kubernetes-2" {
		t.Errorf("the new authority is called %q", ca)
	}
	changed(cluster.RetireAuthorities)
	if _, now := files(); cmp.Diff(first, now) != "" {
		t.Errorf("retired: %s", cmp.Diff(first, now))
	}
	rotation, err := cluster.ReadRotation(r.Layout)
	if err != nil || rotation.Kind != cluster.RetireAuthorities || !rotation.Replaced.IsZero() || !rotation.Switched.Equal(r.now) {
		t.Errorf("%+v, %v", rotation, err)
	}
	entries, err := os.ReadDir(r.Dir())
	if err != nil || len(entries) != 1 {
		t.Errorf("left beside the PKI: %v, %v", entries, err)
	}
}

// TestSecondRotationWaits: what the first authority's certificate vouches for would be lost.
func TestSecondRotationWaits(t *testing.T) {
	r := newRotated(t)
	r.rotate(cluster.RotateAuthorities)
	err := Prepare(r.Layout, cluster.DefaultSpec().Networking, cluster.RotateAuthorities, r.now)
	if err == nil || !strings.Contains(err.Error(), "still trusted") {
		t.Errorf("error is %v", err)
	}
	if p, err := Pending(r.Layout); err != nil || p.Kind != "" {
		t.Errorf("prepared: %+v, %v", p, err)
	}
}

// TestSwitchInterrupted ends kl after each change of the file system.
func TestSwitchInterrupted(t *testing.T) {
	for at := range 4 {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			r := newRotated(t)
			old := readPKI(t, r.Layout)
			if err := os.Mkdir(filepath.Join(r.Dir(), ".pki-left"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := Prepare(r.Layout, cluster.DefaultSpec().Networking, cluster.RotateAuthorities, r.now); err != nil {
				t.Fatal(err)
			}
			pki, next, before := pkiDir(r.Layout), beside(r.Layout, nextDir), beside(r.Layout, oldDir)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			if at > 0 {
				must(os.Rename(pki, before))
			}
			if at > 1 {
				must(os.Rename(next, pki))
			}
			if at > 2 {
				must(os.Remove(filepath.Join(before, "ca.crt")))
			}
			must(Recover(r.Layout)) // as any command that takes the cluster's lock
			pending, err := Pending(r.Layout)
			must(err)
			if at == 0 {
				if diff := cmp.Diff(old, readPKI(t, r.Layout)); diff != "" || pending.Kind != cluster.RotateAuthorities {
					t.Errorf("pending %q: %s", pending.Kind, diff)
				}
			} else if pending.Kind != "" {
				t.Errorf("pending %q", pending.Kind)
			}
			must(Switch(r.Layout, r.now))
			must(Switch(r.Layout, r.now.Add(time.Hour))) // nothing is left to do
			r.ensure()
			if rotation, err := cluster.ReadRotation(r.Layout); err != nil || !rotation.Unfinished || rotation.Replaced.IsZero() || rotation.Replaced.After(r.now) {
				t.Errorf("%+v, %v", rotation, err)
			}
			if entries, err := os.ReadDir(r.Dir()); err != nil || len(entries) != 1 {
				t.Errorf("left beside the PKI: %v, %v", entries, err)
			}
		})
	}
}

// TestRotatedPKINamesDamage damages each file that only a rotation makes.
func TestRotatedPKINamesDamage(t *testing.T) {
	for _, file := range []string{"ca-trust.crt", "ca-cross.crt", "front-proxy-ca-trust.crt", "front-proxy-ca-cross.crt", "sa-trust.pub", "rotation.json"} {
		for damage, do := range map[string]func(path string) error{
			"missing":   os.Remove,
			"truncated": func(path string) error { return os.Truncate(path, 10) },
			"foreign": func(path string) error {
				other := newRotated(t)
				other.rotate(cluster.RotateAuthorities)
				if file == "rotation.json" {
					return os.WriteFile(path, []byte(`{"kind":"x"}`), 0o600)
				}
				return os.Rename(other.PKI(file), path)
			},
		} {
			t.Run(damage+" "+file, func(t *testing.T) {
				r := newRotated(t)
				r.rotate(cluster.RotateAuthorities)
				if err := do(r.PKI(file)); err != nil {
					t.Fatal(err)
				}
				err := Ensure(r.Layout, cluster.DefaultSpec().Networking, r.now)
				var e *cluster.Error
				if !errors.As(err, &e) || e.Hint == "" || !strings.Contains(err.Error(), r.PKI(file)) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error is %v, want one line with %s", err, r.PKI(file))
				}
			})
		}
	}
}

// TestLeavesOfARotatedPKI: a certificate that is renewed for its age keeps its chain.
func TestLeavesOfARotatedPKI(t *testing.T) {
	r := newRotated(t)
	old := r.peer("admin", clusterCA)
	r.rotate(cluster.RotateAuthorities)
	r.now = r.now.Add(leafLifetime - renewBefore/2)
	r.ensure()
	data, err := os.ReadFile(r.PKI("apiserver.crt"))
	if err != nil || strings.Count(string(data), "BEGIN CERTIFICATE") != 2 {
		t.Fatalf("%s, %v", data, err)
	}
	server := r.peer("apiserver", clusterCA)
	chain := x509.NewCertPool()
	chain.AddCert(r.authority(clusterCA).cross)
	if _, err := server.pair.Leaf.Verify(x509.VerifyOptions{Roots: old.trust, Intermediates: chain, CurrentTime: r.now, DNSName: "kubernetes"}); err != nil {
		t.Error(err)
	}
}

func TestNextName(t *testing.T) {
	for name, want := range map[string]string{
		"kubernetes": "kubernetes-2", "kubernetes-2": "kubernetes-3", "front-proxy-ca": "front-proxy-ca-2", "front-proxy-ca-9": "front-proxy-ca-10", "": "-2",
	} {
		if got := nextName(name); got != want {
			t.Errorf("after %q comes %q, want %q", name, got, want)
		}
	}
}
