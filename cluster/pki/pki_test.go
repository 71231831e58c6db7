package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klkube/kl/cluster"

	"github.com/google/go-cmp/cmp"
)

func testLayout(t *testing.T) cluster.Layout {
	t.Helper()
	l := cluster.Home(t.TempDir()).Cluster("test")
	if err := os.MkdirAll(l.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	return l
}

func readPKI(t *testing.T, l cluster.Layout) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(l.PKI("x")))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(l.PKI(e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

func TestEnsurePKI(t *testing.T) {
	l, now := testLayout(t), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	network := cluster.DefaultSpec().Networking
	if err := Ensure(l, network, now); err != nil {
		t.Fatal(err)
	}
	first := readPKI(t, l)
	if len(first) != 22 {
		t.Errorf("made %d files, want 10 pairs and the service account's", len(first))
	}
	for name := range first {
		info, err := os.Stat(l.PKI(name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	t.Run("again keeps every file", func(t *testing.T) {
		if err := Ensure(l, network, now.Add(300*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, readPKI(t, l)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("serving certificate covers every way to the API", func(t *testing.T) {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(first["ca.crt"]))
		cert, err := parseCert([]byte(first["apiserver.crt"]))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{
			"127.0.0.1", "::1", "localhost", "10.245.0.1", "10.96.0.1",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
		} {
			if _, err := cert.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("front proxy has its own authority", func(t *testing.T) {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM([]byte(first["ca.crt"]))
		cert, err := parseCert([]byte(first["front-proxy-client.crt"]))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err == nil {
			t.Error("the cluster's CA vouches for the front proxy")
		}
	})
	t.Run("an old certificate is reissued for the same key", func(t *testing.T) {
		if err := Ensure(l, network, now.Add(340*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		for name, content := range readPKI(t, l) {
			leaf := strings.HasSuffix(name, ".crt") && !strings.HasSuffix(name, "ca.crt")
			if changed := content != first[name]; changed != leaf {
				t.Errorf("%s: changed is %v", name, changed)
			}
		}
	})
	t.Run("the administrator is in no group that the API server grants by itself", func(t *testing.T) {
		for name, want := range map[string]string{"admin.crt": cluster.AdminGroup, "super-admin.crt": "system:masters"} {
			cert, err := parseCert([]byte(first[name]))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{want}, cert.Subject.Organization); diff != "" {
				t.Errorf("groups of %s: %s", name, diff)
			}
		}
	})
	t.Run("every certificate begins in the past", func(t *testing.T) {
		for name, content := range first {
			if !strings.HasSuffix(name, ".crt") {
				continue
			}
			cert, err := parseCert([]byte(content))
			if err != nil {
				t.Fatal(err)
			}
			if ago := now.Sub(cert.NotBefore); ago < time.Minute || ago > time.Hour {
				t.Errorf("%s begins %s ago", name, ago)
			}
		}
	})
	t.Run("a new gateway reaches the serving certificate", func(t *testing.T) {
		moved := network
		moved.Gateway = "10.250.0.1"
		if err := Ensure(l, moved, now); err != nil {
			t.Fatal(err)
		}
		cert, err := parseCert([]byte(readPKI(t, l)["apiserver.crt"]))
		if err != nil {
			t.Fatal(err)
		}
		if err := cert.VerifyHostname("10.250.0.1"); err != nil {
			t.Error(err)
		}
	})
}

// TestEnsurePKIFuture makes certificates with a clock that is ahead, and then puts the clock right.
// The authorities last ten years, everything else one, and all keys are ECDSA keys on P-256.
func TestKeysAndLifetimes(t *testing.T) {
	l, now := testLayout(t), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := Ensure(l, cluster.DefaultSpec().Networking, now); err != nil {
		t.Fatal(err)
	}
	authorities, leaves := 0, 0
	for name, text := range readPKI(t, l) {
		if !strings.HasSuffix(name, ".crt") {
			continue
		}
		block, _ := pem.Decode([]byte(text))
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		end := now.AddDate(0, 0, 365)
		if cert.IsCA {
			authorities++
			end = now.AddDate(0, 0, 3650)
		} else {
			leaves++
		}
		key, ok := cert.PublicKey.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P256() || !cert.NotAfter.Equal(end) {
			t.Errorf("%s: key %T, until %s, want one of ECDSA on P-256, until %s", name, cert.PublicKey, cert.NotAfter, end)
		}
	}
	if authorities == 0 || leaves == 0 {
		t.Errorf("%d authorities and %d other certificates", authorities, leaves)
	}
}

func TestEnsurePKIFuture(t *testing.T) {
	network, now := cluster.DefaultSpec().Networking, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	t.Run("leaves are reissued", func(t *testing.T) {
		l := testLayout(t)
		if err := Ensure(l, network, now); err != nil {
			t.Fatal(err)
		}
		if err := Ensure(l, network, now.Add(340*24*time.Hour)); err != nil { // reissues the leaves
			t.Fatal(err)
		}
		ahead := readPKI(t, l)
		if err := Ensure(l, network, now); err != nil {
			t.Fatal(err)
		}
		for name, content := range readPKI(t, l) {
			leaf := strings.HasSuffix(name, ".crt") && !strings.HasSuffix(name, "ca.crt")
			if changed := content != ahead[name]; changed != leaf {
				t.Errorf("%s: changed is %v", name, changed)
			}
			if !leaf {
				continue
			}
			if cert, err := parseCert([]byte(content)); err != nil || cert.NotBefore.After(now) {
				t.Errorf("%s: %v, not valid yet", name, err)
			}
		}
	})
	t.Run("an authority is named with both times", func(t *testing.T) {
		l := testLayout(t)
		if err := Ensure(l, network, now.Add(48*time.Hour)); err != nil {
			t.Fatal(err)
		}
		before := readPKI(t, l)
		err := Ensure(l, network, now)
		var e *cluster.Error
		if !errors.As(err, &e) || e.Hint == "" {
			t.Fatalf("error is %v", err)
		}
		for _, want := range []string{l.PKI("ca.crt"), "2026-01-02T23:55:00Z", "2026-01-01T00:00:00Z"} {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %q, want %s in one line", err, want)
			}
		}
		if diff := cmp.Diff(before, readPKI(t, l)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestEnsurePKIOfAnOlderKl adds what an older kl did not make, and corrects the groups of what it made.
func TestEnsurePKIOfAnOlderKl(t *testing.T) {
	l, now := testLayout(t), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	network := cluster.DefaultSpec().Networking
	if err := Ensure(l, network, now); err != nil {
		t.Fatal(err)
	}
	ca, err := readIdentity(l, clusterCA)
	if err != nil {
		t.Fatal(err)
	}
	old := leaf{name: "admin", ca: clusterCA, cn: "kubernetes-admin", org: []string{"system:masters"}}
	err = errors.Join(
		os.Remove(l.PKI("super-admin.crt")), os.Remove(l.PKI("super-admin.key")), os.Remove(l.PKI("admin.crt")), os.Remove(l.PKI("admin.key")),
		old.write(filepath.Dir(l.PKI("x")), authority{identity: ca}, now), Ensure(l, network, now))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"admin": cluster.AdminGroup, "super-admin": "system:masters"} {
		if id, err := readIdentity(l, name); err != nil || id.cert.Subject.Organization[0] != want {
			t.Errorf("%s: %v, %v, want group %s", name, id.cert.Subject, err, want)
		}
	}
}

func TestEnsurePKINamesDamage(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	original := testLayout(t)
	if err := Ensure(original, cluster.DefaultSpec().Networking, now); err != nil {
		t.Fatal(err)
	}
	for file := range readPKI(t, original) {
		for _, damage := range []string{"missing", "truncated", "foreign"} {
			t.Run(damage+" "+file, func(t *testing.T) {
				l := testLayout(t)
				if err := os.CopyFS(l.Dir(), os.DirFS(original.Dir())); err != nil {
					t.Fatal(err)
				}
				switch damage {
				case "missing":
					os.Remove(l.PKI(file))
				case "truncated":
					os.Truncate(l.PKI(file), 10)
				case "foreign":
					other := testLayout(t)
					if err := Ensure(other, cluster.DefaultSpec().Networking, now); err != nil {
						t.Fatal(err)
					}
					if err := os.Rename(other.PKI(file), l.PKI(file)); err != nil {
						t.Fatal(err)
					}
				}
				err := Ensure(l, cluster.DefaultSpec().Networking, now)
				var e *cluster.Error
				if !errors.As(err, &e) || e.Hint == "" {
					t.Fatalf("error is %#v, want a *Error with a hint", err)
				}
				stem := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(file, ".crt"), ".key"), ".pub")
				if !strings.Contains(err.Error(), l.PKI(stem)) {
					t.Errorf("%q does not name %s", err, l.PKI(file))
				}
			})
		}
	}
}
