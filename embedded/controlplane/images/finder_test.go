package images

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
)

const (
	name   = "docker.io/library/app:dev"
	oldID  = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	newID  = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	layer  = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
	config = `{"os":"linux"}`
)

// engine has one image.
type engine struct {
	cluster.ImageSource
	image cluster.EngineImage
	err   error
}

func (e engine) FindImage(_ context.Context, n string) (cluster.EngineImage, error) {
	if e.err == nil && n != name {
		return cluster.EngineImage{}, cluster.ErrNoImage
	}
	return e.image, e.err
}

func (engine) ImageTags(_ context.Context, n string) ([]string, error) {
	if strings.Contains(n, "other") {
		return nil, nil
	}
	return []string{"app:a", "app:b", "app:c", "app:dev"}, nil
}

func (engine) SaveImages(context.Context, []string) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("half"), brokenReader{})), nil
}

func (engine) Close() error { return nil }

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the engine went away") }

// registry has one image, which was pushed at a time, and upstream another.
type registry struct {
	pushed   time.Time
	upstream error
	sources  []*source
}

func (r *registry) Find(context.Context, string) (images.Source, time.Time, error) {
	if r.pushed.IsZero() {
		return nil, time.Time{}, cluster.ErrNoImage
	}
	return r.open(), r.pushed, nil
}

func (r *registry) Pull(context.Context, string, *images.Auth) (images.Source, error) {
	if r.upstream != nil {
		return nil, r.upstream
	}
	return r.open(), nil
}

func (r *registry) open() images.Source {
	s := &source{}
	r.sources = append(r.sources, s)
	return s
}

type source struct{ closed int }

func (*source) Images(context.Context) ([]images.Image, error) {
	return []images.Image{{Layers: []digest.Digest{layer}, ImageParts: cluster.ImageParts{Blobs: []cluster.Blob{{Data: []byte(config)}}}}}, nil
}

func (*source) Layer(context.Context, digest.Digest) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("tar")), nil
}

func (s *source) Close() error {
	s.closed++
	return nil
}

func newFinder(t *testing.T, e Engine, r *registry) *Finder {
	f := &Finder{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), OpenEngine: func(context.Context) (Engine, error) {
		if e == nil {
			return nil, &cluster.Error{Op: "connect", Err: cluster.ErrNoEngine, Hint: "start it"}
		}
		return e, nil
	}}
	if r != nil {
		f.Registry = r
	}
	return f
}

func TestFind(t *testing.T) {
	noon := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	built := engine{image: cluster.EngineImage{ID: newID, Tagged: noon}}
	pulled := engine{image: cluster.EngineImage{ID: newID, Tagged: noon, Pulled: true}}
	have := func(id string, since time.Time) *images.Have {
		return &images.Have{ID: digest.Digest(id), Since: since}
	}
	down := errors.New("registry-1.docker.io does not answer")
	for _, test := range []struct {
		name     string
		engine   Engine
		registry *registry
		request  images.FindRequest
		want     string // where from
		err      string
	}{
		{"built", built, nil, images.FindRequest{Name: name}, images.FromEngine, ""},
		{"built, by a short name", built, nil, images.FindRequest{Name: "app:dev"}, images.FromEngine, ""},
		{"built, always", built, &registry{}, images.FindRequest{Name: name, Pull: true}, images.FromEngine, ""},
		{"rebuilt", built, nil, images.FindRequest{Name: name, Have: have(oldID, noon.Add(-1))}, images.FromEngine, ""},
		{"rebuilt, and of an older kl", built, nil, images.FindRequest{Name: name, Have: have(oldID, time.Time{})}, images.FromEngine, ""},
		{"the same", built, nil, images.FindRequest{Name: name, Have: have(newID, noon.Add(-1))}, images.FromNode, ""},
		{"the same manifest", built, nil, images.FindRequest{Name: name, Have: &images.Have{ID: oldID, Digest: newID}}, images.FromNode, ""},
		{"another was loaded since", built, nil, images.FindRequest{Name: name, Have: have(oldID, noon.Add(1))}, images.FromNode, ""},
		{"an engine that keeps no times", engine{image: cluster.EngineImage{ID: newID}}, nil, images.FindRequest{Name: name, Have: have(oldID, noon)}, images.FromEngine, ""},
		{"pulled", pulled, &registry{}, images.FindRequest{Name: name}, images.FromEngine, ""},
		{"pulled, always", pulled, &registry{}, images.FindRequest{Name: name, Pull: true}, images.FromUpstream, ""},
		{"pulled, always, without a network", pulled, &registry{upstream: down}, images.FindRequest{Name: name, Pull: true}, images.FromEngine, ""},
		{"pushed", nil, &registry{pushed: noon}, images.FindRequest{Name: name}, images.FromRegistry, ""},
		{"built after a push", built, &registry{pushed: noon.Add(-1)}, images.FindRequest{Name: name}, images.FromEngine, ""},
		{"pushed after a build", built, &registry{pushed: noon.Add(1)}, images.FindRequest{Name: name}, images.FromRegistry, ""},
		{"nowhere", built, &registry{}, images.FindRequest{Name: "other"}, "", "no such image: docker.io/library/other:latest is not in the container engine, nor in kl's registry"},
		{"another tag", built, nil, images.FindRequest{Name: "app", Pull: true}, "", "no such image: docker.io/library/app:latest is not in the container engine (it has app:a, app:b, app:c and 1 more)"},
		{"no engine", nil, &registry{}, images.FindRequest{Name: name}, "", "is not in the container engine (no container engine answers), nor in kl's registry"},
		{"nowhere, and no network", nil, &registry{upstream: down}, images.FindRequest{Name: name, Pull: true}, "", "app:dev is not in the container engine (no container engine answers), nor in kl's registry; registry-1.docker.io does not answer"},
		{"on the node, and no network", nil, &registry{upstream: down}, images.FindRequest{Name: name, Pull: true, Have: have(oldID, noon)}, images.FromNode, ""},
		{"no name", nil, nil, images.FindRequest{Name: "A B"}, "", "invalid reference format"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFinder(t, test.engine, test.registry)
			found, err := f.Find(t.Context(), test.request)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Fatalf("error is %v, want %q", err, test.err)
			}
			if found.From != test.want {
				t.Errorf("found %+v, want it from %q", found, test.want)
			}
			f.sources.removeUnused(time.Now().Add(time.Hour))
			if test.registry == nil {
				return
			}
			for _, s := range test.registry.sources {
				if s.closed != 1 {
					t.Errorf("a source was closed %d times", s.closed)
				}
			}
		})
	}
}

func TestHandler(t *testing.T) {
	r := &registry{pushed: time.Now()}
	f := newFinder(t, engine{err: cluster.ErrNoImage}, r)
	server := httptest.NewServer(f.Handler())
	defer server.Close()
	do := func(method, path, body string) (int, string, error) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return resp.StatusCode, strings.TrimSpace(string(text)), err
	}
	if status, text, _ := do(http.MethodPost, "/v1/find", `{"name": 1}`); status != http.StatusBadRequest {
		t.Errorf("a broken request gives %d %s", status, text)
	}
	if status, text, _ := do(http.MethodPost, "/v1/find", `{"name": "app:dev"}`); status != http.StatusOK || !strings.Contains(text, layer) {
		t.Errorf("found %d %s", status, text)
	}
	var open string
	for open = range f.sources.open {
	}
	path := "/v1/sources/" + open + "/layers/" + layer
	if status, text, err := do(http.MethodGet, path, ""); status != http.StatusOK || text != "tar" || err != nil {
		t.Errorf("the layer is %d %q, %v", status, text, err)
	}
	if status, text, _ := do(http.MethodDelete, "/v1/sources/"+open, ""); status != http.StatusOK || r.sources[0].closed != 1 {
		t.Errorf("closing it gives %d %s", status, text)
	}
	if status, text, _ := do(http.MethodGet, path, ""); status != http.StatusNotFound || text != "the image is no longer open: ask for it again" {
		t.Errorf("after that the layer is %d %q", status, text)
	}
	r.pushed = time.Time{}
	if status, text, _ := do(http.MethodPost, "/v1/find", `{"name": "other"}`); status != http.StatusNotFound {
		t.Errorf("an image that is nowhere gives %d %s", status, text)
	}
	if _, text, err := do(http.MethodGet, "/v1/saved?name=app", ""); err == nil {
		t.Errorf("an archive that breaks off is taken for whole: %q", text)
	}
}

// What a node reads is closed once it was read, though it was removed before.
func TestSourceInUse(t *testing.T) {
	var s sources
	src := &source{}
	id := s.add(src)
	_, release, err := s.take(id)
	if err != nil {
		t.Fatal(err)
	}
	s.removeUnused(time.Now().Add(time.Hour)) // it is used
	s.remove(id)
	if src.closed != 0 {
		t.Error("closed under its reader")
	}
	release()
	if src.closed != 1 {
		t.Errorf("closed %d times", src.closed)
	}
}
