package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
)

func tag(t *testing.T, text string) name.Tag {
	t.Helper()
	ref, err := name.NewTag(text)
	must(t, err)
	return ref
}

// TestPushAndFind pushes images by go-containerregistry's client, pulls them back, and finds them by tag and digest, in a second process's
// store, too, and after the first one's end.
func TestPushAndFind(t *testing.T) {
	home := t.TempDir()
	s := open(t, home)
	at, stop := serve(t, s, freePort(t))
	first, second := image(t, 3), image(t, 2)
	before := time.Now().Add(-time.Second)
	must(t, remote.Write(tag(t, at+"/team/app:dev"), first))
	samePulled(t, at+"/team/app:dev", first)
	must(t, remote.Write(tag(t, at+"/team/app:dev"), second)) // a rebuilt tag
	must(t, remote.Write(tag(t, at+"/team/app:old"), first))
	must(t, remote.Write(tag(t, at+"/other"), first))
	stop()

	other := open(t, home)
	for name, want := range map[string]v1.Image{
		at + "/team/app:dev": second, at + "/team/app:old": first, at + "/other": first, at + "/other:latest": first,
		strings.Replace(at, "localhost", "127.0.0.1", 1) + "/other": first,
		at + "/team/app@" + digestOf(t, first):                      first,
		at + "/team/app:dev@" + digestOf(t, first):                  first,
	} {
		found, since, err := other.Find(t.Context(), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if since.Before(before) || since.After(time.Now()) {
			t.Errorf("%s is said to have been pushed at %s", name, since)
		}
		same(t, found, want)
		must(t, found.Close())
	}
	for _, name := range []string{at + "/team/app", at + "/nothing", "team/app:dev", "localhost:1/team/app:dev", "registry.example/app:dev", at + "/team/app@sha256:" + strings.Repeat("0", 64)} {
		if _, _, err := other.Find(t.Context(), name); !errors.Is(err, cluster.ErrNoImage) {
			t.Errorf("%s: %v, want ErrNoImage", name, err)
		}
	}
	if _, _, err := other.Find(t.Context(), "UPPER"); err == nil || errors.Is(err, cluster.ErrNoImage) {
		t.Errorf("a name that is none: %v", err)
	}
}

// samePulled pulls an image and compares it.
func samePulled(t *testing.T, ref string, want v1.Image) {
	t.Helper()
	got, err := remote.Image(tag(t, ref))
	must(t, err)
	if digestOf(t, got) != digestOf(t, want) {
		t.Fatalf("pulled %s, want %s", digestOf(t, got), digestOf(t, want))
	}
	layers, err := got.Layers()
	must(t, err)
	for _, l := range layers {
		r, err := l.Compressed()
		must(t, err)
		_, err = readAll(r) // which checks the digest
		must(t, err)
	}
}

// TestIndex pushes an index with several platforms and an attestation, and finds this machine's image; one without it names what there is.
func TestIndex(t *testing.T) {
	s := open(t, t.TempDir())
	at, _ := serve(t, s, freePort(t))
	mine, foreign, attestation := image(t, 2), imageFor(t, 1, "s390x"), image(t, 1)
	add := func(img v1.Image, arch string) mutate.IndexAddendum {
		os := "linux"
		if arch == "unknown" {
			os = "unknown"
		}
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch}}}
	}
	both := mutate.AppendManifests(empty.Index, add(foreign, "s390x"), add(mine, runtime.GOARCH), add(attestation, "unknown"))
	must(t, remote.WriteIndex(tag(t, at+"/app:both"), both))
	found, _, err := s.Find(t.Context(), at+"/app:both")
	must(t, err)
	same(t, found, mine)
	list, err := found.Images(t.Context())
	must(t, err)
	if len(list[0].Blobs) != 3 { // index, manifest, configuration
		t.Errorf("%d documents", len(list[0].Blobs))
	}

	must(t, remote.WriteIndex(tag(t, at+"/app:other"), mutate.AppendManifests(empty.Index, add(foreign, "s390x"), add(attestation, "unknown"))))
	_, _, err = s.Find(t.Context(), at+"/app:other")
	if !errors.Is(err, images.ErrParts) || !strings.Contains(err.Error(), `only for "linux/s390x"`) || strings.Contains(err.Error(), "unknown") {
		t.Errorf("an image for another platform: %v", err)
	}
}

// TestCompressions finds layers that are compressed with zstd, or not at all.
func TestCompressions(t *testing.T) {
	s := open(t, t.TempDir())
	at, _ := serve(t, s, freePort(t))
	plain := bytes.Repeat([]byte("a layer, and not of random bytes\n"), 10_000)
	var zstded bytes.Buffer
	w, err := zstd.NewWriter(&zstded)
	must(t, err)
	_, err = w.Write(plain)
	must(t, errors.Join(err, w.Close()))
	for kind, content := range map[types.MediaType][]byte{types.OCILayerZStd: zstded.Bytes(), types.OCIUncompressedLayer: plain} {
		img := image(t, 1)
		config, err := img.ConfigFile()
		must(t, err)
		config = config.DeepCopy()
		img, err = mutate.Append(empty.Image, mutate.Addendum{Layer: &sameDiff{static.NewLayer(content, kind), plain}})
		must(t, err)
		appended, err := img.ConfigFile()
		must(t, err)
		config.RootFS = appended.RootFS
		img, err = mutate.ConfigFile(img, config)
		must(t, err)
		must(t, remote.Write(tag(t, at+"/app:1"), img))
		found, _, err := s.Find(t.Context(), at+"/app:1")
		must(t, err)
		same(t, found, img)
	}
}

// sameDiff is a layer with the diff ID of what it holds.
type sameDiff struct {
	v1.Layer
	plain []byte
}

func (l *sameDiff) DiffID() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(l.plain))
	return h, err
}

// request sends a request to a store's handler.
func request(h http.Handler, method, path string, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost:5000"+path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const hello = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824" // of "hello"

// TestUploads sends a blob in every way that clients do, and in ways that are wrong.
func TestUploads(t *testing.T) {
	home := t.TempDir()
	h := open(t, home).Handler()
	begin := func() string { return request(h, "POST", "/v2/a/b/blobs/uploads/", "").Header().Get("Location") }
	check := func(what string, w *httptest.ResponseRecorder, code int, contains string) {
		t.Helper()
		if w.Code != code || !strings.Contains(w.Body.String(), contains) {
			t.Errorf("%s: %d %s, want %d with %q", what, w.Code, w.Body, code, contains)
		}
	}
	check("a blob that is not there", request(h, "HEAD", "/v2/a/b/blobs/"+hello, ""), 404, "")

	at := begin()
	check("a piece", request(h, "PATCH", at, "hel", "Content-Range", "0-2"), 202, "")
	check("a piece that does not follow", request(h, "PATCH", at, "lo", "Content-Range", "2-3"), 416, "does not follow the 3 bytes")
	w := request(h, "GET", at, "")
	if check("how much is there", w, 204, ""); w.Header().Get("Range") != "0-2" {
		t.Errorf("Range is %q", w.Header().Get("Range"))
	}
	check("the last piece", request(h, "PUT", at+"?digest="+hello, "lo", "Content-Range", "3-4"), 201, "")
	check("an upload that is complete", request(h, "GET", at, ""), 404, "BLOB_UPLOAD_UNKNOWN")
	w = request(h, "GET", "/v2/a/b/blobs/"+hello, "")
	if check("the blob", w, 200, "hello"); w.Header().Get("Docker-Content-Digest") != hello {
		t.Error("the blob has no digest")
	}
	check("a part of it", request(h, "GET", "/v2/a/b/blobs/"+hello, "", "Range", "bytes=1-3"), 206, "ell")
	check("a mount", request(h, "POST", "/v2/c/blobs/uploads/?mount="+hello+"&from=a/b", ""), 201, "")
	check("a mount of what is not there", request(h, "POST", "/v2/c/blobs/uploads/?mount=sha256:"+strings.Repeat("1", 64)+"&from=a/b", ""), 202, "")
	check("all at once", request(h, "POST", "/v2/c/blobs/uploads/?digest="+hello, "hello"), 201, "")

	at = begin()
	check("another content", request(h, "PUT", at+"?digest="+hello, "jello"), 400, "DIGEST_INVALID")
	check("its upload", request(h, "GET", at, ""), 404, "")
	check("no digest", request(h, "PUT", begin(), "hello"), 400, "DIGEST_INVALID")
	check("an upload that is none", request(h, "PATCH", "/v2/a/blobs/uploads/..%2f..%2fport", "x"), 404, "")
	at = begin()
	check("given up", request(h, "DELETE", at, ""), 204, "")
	check("and gone", request(h, "PATCH", at, "x"), 404, "BLOB_UPLOAD_UNKNOWN")
	check("a blob is not deleted", request(h, "DELETE", "/v2/a/b/blobs/"+hello, ""), 405, "UNSUPPORTED")
	check("a name that is none", request(h, "POST", "/v2/A/blobs/uploads/", ""), 400, "NAME_INVALID")
	check("a path that is none", request(h, "GET", "/v2/a", ""), 404, "UNSUPPORTED")
	check("the version", request(h, "GET", "/v2/", ""), 200, "{}")
	blobs, err := os.ReadDir(filepath.Join(home, "registry", "blobs", "sha256"))
	if err != nil || len(blobs) != 1 {
		t.Errorf("blobs: %v, %v", blobs, err)
	}
}

// TestUploadCutOff: what a client that was cut off has sent is there for it to go on from.
func TestUploadCutOff(t *testing.T) {
	h := open(t, t.TempDir()).Handler()
	at := request(h, "POST", "/v2/a/blobs/uploads/", "").Header().Get("Location")
	r := httptest.NewRequest("PATCH", "http://localhost"+at, io.MultiReader(strings.NewReader("hel"), failingReader{}))
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != 400 {
		t.Errorf("a request that is cut off: %d %s", w.Code, w.Body)
	}
	if got := request(h, "GET", at, "").Header().Get("Range"); got != "0-2" {
		t.Errorf("%q is there", got)
	}
	if w := request(h, "PUT", at+"?digest="+hello, "lo"); w.Code != 201 {
		t.Errorf("the rest: %d %s", w.Code, w.Body)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestManifests puts and deletes manifests, right ones and wrong ones.
func TestManifests(t *testing.T) {
	h := open(t, t.TempDir()).Handler()
	const kind = "application/vnd.oci.image.manifest.v1+json"
	if w := request(h, "POST", "/v2/a/blobs/uploads/?digest="+hello, "hello"); w.Code != 201 {
		t.Fatal(w.Body)
	}
	manifest := func(more string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":5},"layers":[]%s}`, kind, hello, more)
	}
	sum := func(text string) string { h, _, _ := v1.SHA256(strings.NewReader(text)); return h.String() }
	good := manifest("")
	signature := manifest(fmt.Sprintf(`,"artifactType":"a/signature","annotations":{"k":"v"},"subject":{"mediaType":%q,"digest":%q,"size":1}`, kind, sum(good)))
	for _, tt := range []struct {
		what, method, path, body, kind string
		code                           int
		contains                       string
	}{
		{"good", "PUT", "/v2/a/manifests/1", good, kind, 201, ""},
		{"by its digest", "PUT", "/v2/a/manifests/" + sum(signature), signature, kind, 201, ""},
		{"by another digest", "PUT", "/v2/a/manifests/" + hello, good, kind, 400, "DIGEST_INVALID"},
		{"not JSON", "PUT", "/v2/a/manifests/2", "hello", kind, 400, "MANIFEST_INVALID"},
		{"an unknown type", "PUT", "/v2/a/manifests/2", good, "text/plain", 400, "MANIFEST_INVALID"},
		{"two types", "PUT", "/v2/a/manifests/2", good, "application/vnd.docker.distribution.manifest.v2+json", 400, "MANIFEST_INVALID"},
		{"not a tag", "PUT", "/v2/a/manifests/.x", good, kind, 400, "TAG_INVALID"},
		{"a blob that is not there", "PUT", "/v2/a/manifests/2", strings.ReplaceAll(good, hello, sum("x")), kind, 400, "MANIFEST_BLOB_UNKNOWN"},
		{"a blob that leads out", "PUT", "/v2/a/manifests/2", strings.ReplaceAll(good, hello, "sha256:../../port"), kind, 400, "MANIFEST_BLOB_UNKNOWN"},
		{"an index of what is not there", "PUT", "/v2/a/manifests/2", `{"manifests":[{"digest":"` + hello + `"}]}`, "application/vnd.oci.image.index.v1+json", 400, "MANIFEST_BLOB_UNKNOWN"},
		{"too large", "PUT", "/v2/a/manifests/2", strings.Repeat(" ", 5<<20), kind, 413, "MANIFEST_INVALID"},
		{"read", "GET", "/v2/a/manifests/1", "", "", 200, good},
		{"read of another repository", "GET", "/v2/b/manifests/" + sum(good), "", "", 404, "MANIFEST_UNKNOWN"},
		{"referrers", "GET", "/v2/a/referrers/" + sum(good), "", "", 200, sum(signature)},
		{"referrers of a type", "GET", "/v2/a/referrers/" + sum(good) + "?artifactType=a/other", "", "", 200, `"manifests":[]`},
		{"referrers of nothing", "GET", "/v2/b/referrers/" + hello, "", "", 200, `"manifests":[]`},
		{"a second tag", "PUT", "/v2/a/manifests/2", good, kind, 201, ""},
		{"a third tag", "PUT", "/v2/a/manifests/3", good, kind, 201, ""},
		{"tags", "GET", "/v2/a/tags/list?n=2", "", "", 200, `{"name":"a","tags":["1","2"]}`},
		{"more tags", "GET", "/v2/a/tags/list?n=2&last=2", "", "", 200, `["3"]`},
		{"tags of nothing", "GET", "/v2/b/tags/list", "", "", 404, "NAME_UNKNOWN"},
		{"repositories", "GET", "/v2/_catalog", "", "", 200, `{"repositories":["a"]}`},
		{"delete a tag", "DELETE", "/v2/a/manifests/2", "", "", 202, ""},
		{"it is gone", "HEAD", "/v2/a/manifests/2", "", "", 404, ""},
		{"the image is not", "GET", "/v2/a/manifests/" + sum(good), "", "", 200, good},
		{"delete it", "DELETE", "/v2/a/manifests/" + sum(good), "", "", 202, ""},
		{"its other tags are gone", "GET", "/v2/a/tags/list", "", "", 200, `"tags":[]`},
		{"delete nothing", "DELETE", "/v2/a/manifests/" + sum(good), "", "", 404, "MANIFEST_UNKNOWN"},
		{"delete the last", "DELETE", "/v2/a/manifests/" + sum(signature), "", "", 202, ""},
		{"no repository", "GET", "/v2/_catalog", "", "", 200, `{"repositories":[]}`},
	} {
		w := request(h, tt.method, tt.path, tt.body, "Content-Type", tt.kind)
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.contains) {
			t.Errorf("%s: %d %s, want %d with %q", tt.what, w.Code, w.Body, tt.code, tt.contains)
		}
		switch tt.what {
		case "tags":
			if diff := cmp.Diff(`</v2/a/tags/list?last=2&n=2>; rel="next"`, w.Header().Get("Link")); diff != "" {
				t.Errorf("link (-want +got):\n%s", diff)
			}
		case "by its digest":
			if w.Header().Get("OCI-Subject") != sum(good) {
				t.Error("the subject is not named")
			}
		}
	}
}

// TestWebPages: pages that a browser of this machine shows neither read nor write.
func TestWebPages(t *testing.T) {
	h := open(t, t.TempDir()).Handler()
	if w := request(h, "POST", "/v2/a/blobs/uploads/", "", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
		t.Errorf("a page of another origin: %d", w.Code)
	}
	for host, code := range map[string]int{"evil.example:5000": 403, "evil.example": 403, "localhost:5000": 200, "127.0.0.1": 200, "[::1]:5000": 200, "host.docker.internal:5000": 200} {
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != code {
			t.Errorf("host %s: %d, want %d", host, w.Code, code)
		}
	}
}
