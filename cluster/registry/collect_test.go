package registry_test

import (
	"context"
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/registry"
	"github.com/klkube/kl/cluster/statefile"
)

// age makes everything in a home's registry older.
func age(t *testing.T, home string, by time.Duration) {
	t.Helper()
	then := time.Now().Add(-by)
	must(t, filepath.WalkDir(filepath.Join(home, "registry"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			err = os.Chtimes(path, then, then)
		}
		if errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			return nil
		}
		return err
	}))
}

// blobs counts the blobs of a home's registry.
func blobs(t *testing.T, home string) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(home, "registry", "blobs", "sha256"))
	must(t, err)
	return len(entries)
}

// TestCollect removes what nobody needs, and nothing else.
func TestCollect(t *testing.T) {
	home := t.TempDir()
	s, _ := puller(t, home)
	at, _ := serve(t, s, freePort(t))
	up := newRegistry(t, false, nil)
	pulledImage, first, second := image(t, 2), image(t, 2), image(t, 3)
	name := up.push(t, pulledImage)
	must(t, remote.Write(tag(t, at+"/app:1"), first))
	must(t, remote.Write(tag(t, at+"/app:1"), second))
	pulled(t, s, name, nil, pulledImage)
	h := s.Handler()
	if w := request(h, "POST", "/v2/app/blobs/uploads/?digest="+hello, "hello"); w.Code != 201 {
		t.Fatal(w.Body)
	}
	if w := request(h, "POST", "/v2/app/blobs/uploads/", ""); w.Code != 202 {
		t.Fatal(w.Body)
	}
	collect := func(want int, freed bool) {
		t.Helper()
		n, err := s.Collect(t.Context())
		must(t, err)
		if (n > 0) != freed {
			t.Errorf("%d bytes were freed", n)
		}
		if got := blobs(t, home); got != want {
			t.Errorf("there are %d blobs, want %d", got, want)
		}
	}
	const all = 4 + 4 + 5 + 1
	collect(all, false)
	age(t, home, 25*time.Hour)
	if w := request(h, "HEAD", "/v2/app/blobs/"+hello, ""); w.Code != 200 { // a client that is told of it may still send its manifest
		t.Fatal(w.Body)
	}
	collect(all, false)
	if left, err := os.ReadDir(filepath.Join(home, "registry", "uploads")); err != nil || len(left) > 0 {
		t.Errorf("uploads are left: %v, %v", left, err)
	}
	age(t, home, 25*time.Hour)
	collect(all-1, true)
	if w := request(h, "HEAD", "/v2/app/manifests/"+digestOf(t, first), ""); w.Code != 200 {
		t.Error("an image that lost its tag a day ago is gone")
	}
	age(t, home, 8*24*time.Hour)
	collect(all-1-4, true)
	if w := request(h, "HEAD", "/v2/app/manifests/"+digestOf(t, first), ""); w.Code != 404 {
		t.Error("an image that lost its tag a week ago is there")
	}
	samePulled(t, at+"/app:1", second)
	pulled(t, s, name, nil, pulledImage) // it is used
	collect(all-1-4, false)
	age(t, home, 31*24*time.Hour)
	collect(5, true)
	samePulled(t, at+"/app:1", second)
	if left, err := os.ReadDir(filepath.Join(home, "registry", "upstream")); err != nil || len(left) > 0 {
		t.Errorf("repositories are left: %v, %v", left, err)
	}
	pulled(t, s, name, nil, pulledImage)
}

// TestCollectKeepsSignatures: what is about an image stays as long as the image.
func TestCollectKeepsSignatures(t *testing.T) {
	home := t.TempDir()
	s := open(t, home)
	h := s.Handler()
	const kind = "application/vnd.oci.image.manifest.v1+json"
	config := `"config":{"mediaType":"x/y","digest":"` + hello + `","size":5},"layers":[]`
	request(h, "POST", "/v2/a/blobs/uploads/?digest="+hello, "hello")
	image := request(h, "PUT", "/v2/a/manifests/1", `{`+config+`}`, "Content-Type", kind).Header().Get("Docker-Content-Digest")
	w := request(h, "PUT", "/v2/a/manifests/2", `{`+config+`,"subject":{"mediaType":"`+kind+`","digest":"`+image+`","size":1}}`, "Content-Type", kind)
	signature := w.Header().Get("Docker-Content-Digest")
	request(h, "DELETE", "/v2/a/manifests/2", "")
	age(t, home, 40*24*time.Hour)
	_, err := s.Collect(t.Context())
	must(t, err)
	if w := request(h, "GET", "/v2/a/referrers/"+image, ""); !strings.Contains(w.Body.String(), signature) {
		t.Errorf("the signature is gone: %s", w.Body)
	}
	must(t, registry.RemoveUnused(cluster.Home(home)))
	if n := blobs(t, home); n != 3 {
		t.Errorf("%d blobs are left of a registry that has images", n)
	}
	request(h, "DELETE", "/v2/a/manifests/1", "")
	freed, err := s.Prune(t.Context(), false)
	if must(t, err); freed == 0 {
		t.Error("nothing was freed")
	}
	if n := blobs(t, home); n != 0 {
		t.Errorf("%d blobs are left", n)
	}
	must(t, registry.RemoveUnused(cluster.Home(home)))
	if left, err := os.ReadDir(home); err != nil || len(left) > 0 {
		t.Errorf("%v is left of a registry that has no images, %v", left, err)
	}
}

// TestDamagedBlob: a layer that the disk has damaged is noticed when it is read, and downloaded again.
func TestDamagedBlob(t *testing.T) {
	home := t.TempDir()
	s, _ := puller(t, home)
	up := newRegistry(t, false, nil)
	img := image(t, 1)
	name := up.push(t, img)
	pulled(t, s, name, nil, img)
	layers, err := img.Layers()
	must(t, err)
	path := filepath.Join(home, "registry", "blobs", "sha256", strings.TrimPrefix(digestOf(t, layers[0]), "sha256:"))
	data, err := os.ReadFile(path)
	must(t, err)
	data[len(data)/2] ^= 1
	must(t, os.WriteFile(path, data, 0o600))
	source, err := s.Pull(t.Context(), name, nil)
	must(t, err)
	list, err := source.Images(t.Context())
	must(t, err)
	if err := layersOf(t.Context(), source, list[0]); err == nil || !strings.Contains(err.Error(), "was damaged, and has been removed") {
		t.Errorf("a damaged layer: %v", err)
	}
	pulled(t, s, name, nil, img)
}

// TestCollectWaits: no manifest comes in while blobs that none names are removed, and the other way round.
func TestCollectWaits(t *testing.T) {
	home := t.TempDir()
	s := open(t, home)
	h := s.Handler()
	if w := request(h, "POST", "/v2/a/blobs/uploads/?digest="+hello, "hello"); w.Code != 201 {
		t.Fatal(w.Body)
	}
	l, err := statefile.TryLockDir(filepath.Join(home, "registry")) // as another process
	must(t, err)
	put := func(ctx context.Context) int {
		r := httptest.NewRequestWithContext(ctx, "PUT", "http://localhost/v2/a/manifests/1",
			strings.NewReader(`{"config":{"mediaType":"x/y","digest":"`+hello+`","size":5},"layers":[]}`))
		r.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if code := put(soon); code == 201 {
		t.Error("a manifest came in meanwhile")
	}
	if _, err := s.Collect(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two collect at once: %v", err)
	}
	l.Unlock()
	if code := put(t.Context()); code != 201 {
		t.Errorf("then it gives %d", code)
	}
}
