package registry_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/cluster/registry"
)

// archived is an image of an archive.
func archived(t *testing.T, entries []clustertest.TarEntry) (images.Source, images.Image) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "images.tar")
	must(t, os.WriteFile(path, clustertest.Tar(entries...), 0o600))
	source, err := images.Archive{Path: path}.Open()
	must(t, err)
	t.Cleanup(func() { source.Close() })
	list, err := source.Images(t.Context())
	must(t, err)
	return source, list[0]
}

// TestPushImage pushes images of archives to kl's own registry and to one of go-containerregistry, and does not send layers again.
func TestPushImage(t *testing.T) {
	own := open(t, t.TempDir())
	at, _ := serve(t, own, freePort(t))
	u := registry.Upstream{Keychain: nobody{}}
	for kind, entries := range map[string][]clustertest.TarEntry{"docker": clustertest.DockerArchive("app:1"), "oci": clustertest.OCIArchive("docker.io/library/app:1")} {
		source, image := archived(t, entries)
		var sent int64
		d, err := u.Push(t.Context(), at+"/"+kind+"/app", source, image, func(n, _ int64) { sent = n })
		must(t, err)
		if d != image.Digest().String() || sent == 0 {
			t.Errorf("%s: digest is %s, want %s; %d bytes were sent", kind, d, image.Digest(), sent)
		}
		found, _, err := own.Find(t.Context(), at+"/"+kind+"/app:latest")
		must(t, err)
		list, err := found.Images(t.Context())
		must(t, err)
		if len(list) != 1 || list[0].ID() != image.ID() {
			t.Errorf("%s: found %v", kind, list)
		}
		must(t, layersOf(t.Context(), found, list[0]))

		other := newRegistry(t, false, nil)
		for i, want := range []bool{true, false} {
			other.with(nil)
			_, err := u.Push(t.Context(), other.host()+"/app:1", source, image, nil)
			must(t, err)
			if got := other.requests("PUT blobs") > 0; got != want {
				t.Errorf("%s: push %d sent layers: %t", kind, i, got)
			}
		}
	}
}

// TestPushImageFar: a registry that is not on this machine gets layers compressed.
func TestPushImageFar(t *testing.T) {
	l, err := net.Listen("tcp", net.JoinHostPort(privateAddress(t), "0"))
	must(t, err)
	far := newRegistry(t, false, nil)
	server := &http.Server{Handler: far} //nolint:gosec // for a test
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	source, image := archived(t, clustertest.DockerArchive("app:1"))
	u := registry.Upstream{Keychain: nobody{}}
	if _, err := u.Push(t.Context(), l.Addr().String()+"/app:1", source, image, nil); err == nil || !strings.Contains(err.Error(), "registries.insecure") {
		t.Errorf("without TLS: %v", err)
	}
	u.Insecure = []string{l.Addr().String()}
	_, err = u.Push(t.Context(), l.Addr().String()+"/app:1", source, image, nil)
	must(t, err)
	ref, err := name.NewTag(l.Addr().String()+"/app:1", name.Insecure)
	must(t, err)
	got, err := remote.Image(ref)
	must(t, err)
	manifest, err := got.Manifest()
	must(t, err)
	if manifest.Config.Digest.String() != image.ID().String() || manifest.Layers[0].Digest.String() == image.Layers[0].String() {
		t.Errorf("manifest is %+v, image %s of layers %s", manifest, image.ID(), image.Layers)
	}
}

// TestPushImageRefused: one line says who does not take an image, and why.
func TestPushImageRefused(t *testing.T) {
	up := newRegistry(t, false, nil)
	source, image := archived(t, clustertest.DockerArchive("app:1"))
	u := registry.Upstream{Keychain: nobody{}}
	push := func(target string, words ...string) {
		t.Helper()
		_, err := u.Push(t.Context(), target, source, image, nil)
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want %q", target, err, w)
			}
		}
	}
	up.with(basic("me", "secret"))
	push(up.host()+"/app:1", "push "+up.host()+"/app:1: "+up.host()+" wants credentials", "docker login "+up.host())
	u.Keychain = somebody{"me", "wrong"}
	push(up.host()+"/app:1", `refuses user "me" of the docker config`)
	u.Keychain = somebody{"me", "secret"}
	_, err := u.Push(t.Context(), up.host()+"/app:1", source, image, nil)
	must(t, err)
	up.with(status("/manifests/", http.StatusInsufficientStorage))
	push(up.host()+"/app:2", "answers 507")
	push("127.0.0.1:1/app:2", "127.0.0.1:1 is not reachable")
	push("UPPER", "UPPER")
	push("app@"+image.Digest().String(), "want a tag")
}
