package registry_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/cluster/registry"
)

// nobody has no credentials: the docker config of whoever runs the tests does not count.
type nobody struct{}

func (nobody) Resolve(authn.Resource) (authn.Authenticator, error) { return authn.Anonymous, nil }

// somebody has credentials for every registry.
type somebody struct{ user, password string }

func (s somebody) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: s.user, Password: s.password}, nil
}

func puller(t *testing.T, home string) (*registry.Store, *bytes.Buffer) {
	t.Helper()
	s := open(t, home)
	logged := &bytes.Buffer{}
	s.Upstream.Keychain, s.Logger = nobody{}, slog.New(slog.NewTextHandler(logged, nil))
	return s, logged
}

// pulled pulls an image and reads all of it.
func pulled(t *testing.T, s *registry.Store, name string, auth *images.Auth, want v1.Image) {
	t.Helper()
	source, err := s.Pull(t.Context(), name, auth)
	if err != nil {
		t.Fatalf("pull %s: %v", name, err)
	}
	same(t, source, want)
	must(t, source.Close())
}

// refused checks that an image cannot be pulled, and that one line says why.
func refused(t *testing.T, s *registry.Store, name string, auth *images.Auth, words ...string) error {
	t.Helper()
	source, err := s.Pull(t.Context(), name, auth)
	if err == nil {
		var list []images.Image
		if list, err = source.Images(t.Context()); err == nil {
			err = layersOf(t.Context(), source, list[0])
		}
	}
	if err == nil {
		t.Fatalf("%s was pulled", name)
	}
	for _, w := range append(words, "pull ") {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q:\n%v", w, err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("the error has several lines:\n%v", err)
	}
	return err
}

// TestPullThrough pulls an image once; then nothing is downloaded any more, and it is there when the registry is not.
func TestPullThrough(t *testing.T) {
	up := newRegistry(t, false, nil)
	img := image(t, 5)
	name := up.push(t, img)
	home := t.TempDir()
	s, _ := puller(t, home)
	up.with(nil)
	pulled(t, s, name, nil, img)
	if n := up.requests("GET blobs"); n != 6 { // and the configuration
		t.Errorf("%d blobs were downloaded, want 6", n)
	}
	up.with(nil)
	pulled(t, s, name, nil, img)
	if up.requests("HEAD manifests") != 1 || up.requests("GET manifests") != 0 || up.requests("GET blobs") != 0 {
		t.Errorf("of an image that is there, %v was asked for", up.seen)
	}
	newer := image(t, 2)
	up.push(t, newer)
	pulled(t, s, name, nil, newer)
	up.Close()
	second, logged := puller(t, home)
	pulled(t, second, name, nil, newer)
	if !strings.Contains(logged.String(), "does not answer") || !strings.Contains(logged.String(), name) {
		t.Errorf("the log does not say that the image may be old: %s", logged)
	}
	logged.Reset()
	pulled(t, second, up.host()+"/team/app@"+digestOf(t, img), nil, img) // by its digest, which the registry need not be asked about
	if logged.Len() > 0 {
		t.Errorf("logged %s", logged)
	}
	refused(t, second, up.host()+"/team/app:2", nil, up.host()+" is not reachable: ", "connection refused")
	if _, _, err := second.Find(t.Context(), name); !errors.Is(err, cluster.ErrNoImage) {
		t.Errorf("what was pulled counts as pushed: %v", err)
	}
}

// TestPullAtOnce: what several nodes, and two processes, pull at once is downloaded once.
func TestPullAtOnce(t *testing.T) {
	up := newRegistry(t, false, nil)
	img := image(t, 6)
	name := up.push(t, img)
	up.with(nil)
	home := t.TempDir()
	first, _ := puller(t, home)
	second, _ := puller(t, home)
	var wg sync.WaitGroup
	for _, s := range []*registry.Store{first, first, second, second} {
		wg.Go(func() {
			source, err := s.Pull(t.Context(), name, nil)
			if err == nil {
				var list []images.Image
				if list, err = source.Images(t.Context()); err == nil {
					err = layersOf(t.Context(), source, list[0])
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := up.requests("GET blobs"); n > 6+4 { // layers once; each of the four may have read the configuration
		t.Errorf("%d blobs were downloaded", n)
	}
}

// TestPullCredentials pulls with the credentials of a pod, with those of the user, and without any.
func TestPullCredentials(t *testing.T) {
	up := newRegistry(t, false, nil)
	img := image(t, 1)
	name := up.push(t, img)
	for kind, wants := range map[string]func(http.ResponseWriter, *http.Request) bool{"basic": basic("me", "secret"), "token": tokens(up.URL, "me", "secret")} {
		t.Run(kind, func(t *testing.T) {
			up.with(wants)
			for _, auth := range []images.Auth{{Username: "me", Password: "secret"}, {Auth: "bWU6c2VjcmV0"}} {
				s, _ := puller(t, t.TempDir())
				pulled(t, s, name, &auth, img)
			}
			s, _ := puller(t, t.TempDir())
			s.Upstream.Keychain = somebody{"me", "secret"}
			pulled(t, s, name, nil, img)

			s, _ = puller(t, t.TempDir())
			refused(t, s, name, nil, up.host()+" does not have it, or wants credentials", "docker login "+up.host(), "imagePullSecrets")
			refused(t, s, name, &images.Auth{Username: "you", Password: "guess"}, "refuses user \"you\" of the pod's imagePullSecrets")
			refused(t, s, name, &images.Auth{Auth: "?"}, "the pod's imagePullSecrets, which are damaged")
			s.Upstream.Keychain = somebody{"you", "guess"}
			if err := refused(t, s, name, nil, "refuses user \"you\" of the docker config"); strings.Contains(err.Error(), "guess") {
				t.Error("the error has the password")
			}
		})
	}
}

// TestPullRefusedIsNotKept: what was kept does not hide that the registry refuses, or does not have, an image; but for its limits, and
// while it is broken.
func TestPullRefusedIsNotKept(t *testing.T) {
	up := newRegistry(t, false, nil)
	img := image(t, 1)
	name := up.push(t, img)
	s, logged := puller(t, t.TempDir())
	pulled(t, s, name, nil, img)
	up.with(status("/manifests/", http.StatusNotFound))
	if err := refused(t, s, name, nil, up.host()+" does not have it"); !errors.Is(err, cluster.ErrNoImage) {
		t.Errorf("%v is not ErrNoImage", err)
	}
	up.with(basic("me", "secret"))
	refused(t, s, name, nil, "wants credentials")
	for _, code := range []int{http.StatusTooManyRequests, http.StatusBadGateway} {
		logged.Reset()
		up.with(status("/manifests/", code))
		pulled(t, s, name, nil, img)
		if !strings.Contains(logged.String(), "does not answer") {
			t.Errorf("status %d: logged %q", code, logged)
		}
	}
	fresh, _ := puller(t, t.TempDir())
	up.with(status("/manifests/", http.StatusTooManyRequests))
	refused(t, fresh, name, nil, up.host()+" has had too many requests")
	up.with(status("/manifests/", http.StatusBadGateway))
	refused(t, fresh, name, nil, up.host()+" answers 502 Bad Gateway")
}

// TestPullTLS pulls from registries with a private authority, and from one without TLS.
func TestPullTLS(t *testing.T) {
	up := newRegistry(t, true, nil)
	img := image(t, 1)
	name := up.push(t, img)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: up.Certificate().Raw}), 0o600))

	s, _ := puller(t, t.TempDir())
	refused(t, s, name, nil, up.host()+" is not trusted: ", "registries.caFiles")
	s.Upstream.CAFiles = map[string]string{up.host(): ca + "x"}
	refused(t, s, name, nil, "registries.caFiles", "ca.crtx", "no such file")
	s.Upstream.CAFiles = map[string]string{up.host(): "pull_test.go"}
	refused(t, s, name, nil, "pull_test.go holds no certificates")
	s.Upstream.CAFiles = map[string]string{up.host(): ca}
	pulled(t, s, name, nil, img)
	s, _ = puller(t, t.TempDir())
	s.Upstream.Insecure = []string{up.host()}
	pulled(t, s, name, nil, img)
}

// TestPullPlain: a registry that is not on this machine must speak TLS, whatever its address is, unless it may be insecure.
func TestPullPlain(t *testing.T) {
	here := privateAddress(t)
	img := image(t, 1)
	up := newRegistry(t, false, nil)
	up.push(t, img)
	l, err := net.Listen("tcp", net.JoinHostPort(here, "0"))
	must(t, err)
	server := &http.Server{Handler: up} //nolint:gosec // for a test
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	name := l.Addr().String() + "/team/app:1"
	s, _ := puller(t, t.TempDir())
	refused(t, s, name, nil, "speaks no TLS", "registries.insecure")
	s.Upstream.Insecure = []string{l.Addr().String()}
	pulled(t, s, name, nil, img)
}

func privateAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	must(t, err)
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsPrivate() {
			return n.IP.String()
		}
	}
	t.Skip("SKIPPED: this machine has no private address")
	return ""
}

// TestPullFaults: connections that are cut are taken up again, and content that is wrong is not kept.
func TestPullFaults(t *testing.T) {
	img := image(t, 2)
	for name, store := range map[string]bool{"of a registry that sends parts": true, "of one that does not": false} {
		t.Run(name, func(t *testing.T) {
			var content *registry.Store
			if store {
				content = open(t, t.TempDir())
			}
			up := newRegistry(t, false, content)
			name := up.push(t, img)
			s, _ := puller(t, t.TempDir())
			up.with(cut(up.content, 1500))
			if store {
				pulled(t, s, name, nil, img) // of 3 or 4 pieces each
			} else {
				refused(t, s, name, nil, up.host()+" cannot be used: the connection broke off")
				up.with(nil)
				pulled(t, s, name, nil, img)
			}
			for _, kind := range []string{"/blobs/", "/manifests/"} {
				s, _ := puller(t, t.TempDir())
				up.with(spoil(up.content, kind))
				refused(t, s, name, nil, up.host()+" sends something else: ", "has digest sha256:")
				up.with(nil)
				pulled(t, s, name, nil, img)
			}
		})
	}
}

// TestPullMirrors: mirrors come first, in order, under a path and for any registry; what none has, the registry itself is asked for.
func TestPullMirrors(t *testing.T) {
	img := image(t, 1)
	up, mirror := newRegistry(t, false, nil), newRegistry(t, false, nil)
	name := up.push(t, img)
	mirror.push(t, img)
	var asked []string
	mirror.with(func(w http.ResponseWriter, r *http.Request) bool {
		asked = append(asked, r.URL.RequestURI())
		if r.Header.Get("Authorization") != "" {
			t.Error("the mirror gets the registry's credentials")
		}
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/cache")
		return false
	})
	down := httptest.NewServer(nil)
	down.Close()
	s, _ := puller(t, t.TempDir())
	s.Upstream.Mirrors = map[string][]string{up.host(): {down.URL, mirror.URL + "/cache/"}, "*": {mirror.URL + "/cache"}}
	up.Close()
	pulled(t, s, name, &images.Auth{Username: "me", Password: "secret"}, img)
	if !strings.Contains(fmt.Sprint(asked), "/cache/v2/team/app/manifests/1?ns="+strings.ReplaceAll(up.host(), ":", "%3A")) {
		t.Errorf("the mirror was asked %q", asked)
	}
	pulled(t, s, "registry.invalid/team/app:1", nil, img)
	err := refused(t, s, up.host()+"/team/other:1", nil, "127.0.0.1", "(a mirror of "+up.host()+") is not reachable", mirror.host()+"/cache (a mirror of "+up.host()+") does not have it")
	if errors.Is(err, cluster.ErrNoImage) {
		t.Error("the registry itself did not say that there is no such image")
	}
}

// TestPullPlatform names the platforms that there are.
func TestPullPlatform(t *testing.T) {
	up := newRegistry(t, false, nil)
	name := up.push(t, imageFor(t, 1, "s390x"))
	s, _ := puller(t, t.TempDir())
	if err := refused(t, s, name, nil, "linux/s390x"); !errors.Is(err, images.ErrParts) {
		t.Errorf("%v is not ErrParts", err)
	}
}
