package pull

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
)

const fullName = "docker.io/library/app:dev"

// node is what a node has. It is its Store and its Layers.
type node struct {
	mu     sync.Mutex
	images map[string]images.Have
	layers map[digest.Digest][]digest.Digest // with what is below each
	broken error                             // of what is written
}

func (n *node) Find(_ context.Context, name string) (*images.Have, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if have, ok := n.images[name]; ok {
		return &have, nil
	}
	return nil, nil
}

func (n *node) Import(_ context.Context, archive io.Reader) ([]cluster.Image, error) {
	data, err := io.ReadAll(archive)
	if err != nil {
		return nil, err
	}
	id := digest.FromBytes(data)
	n.put(fullName, images.Have{ID: id})
	return []cluster.Image{{Names: []string{fullName}, Config: id.String()}}, nil
}

func (n *node) Assemble(_ context.Context, parts []cluster.ImageParts) ([]cluster.Image, error) {
	for _, p := range parts {
		for _, name := range p.Names {
			n.put(name, images.Have{ID: images.Image{ImageParts: p}.ID(), Since: p.Since})
		}
	}
	return nil, n.broken
}

func (n *node) put(name string, have images.Have) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.images[name] = have
}

func (n *node) Use(_ context.Context, id digest.Digest) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.layers[id]; ok {
		return "/" + id.String(), nil
	}
	return "", nil
}

func (n *node) Add(_ context.Context, _ *slog.Logger, id digest.Digest, below []digest.Digest, tar io.Reader) error {
	data, err := io.ReadAll(tar)
	if err != nil {
		return err
	}
	if got := digest.FromBytes(data); got != id {
		return fmt.Errorf("its content has digest %s", got)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.layers[id] = below
	return n.broken
}

// handlerTransport sends requests to a handler without a network. Nil fails, as without a connection.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if h.Handler == nil {
		return nil, errors.New("node is not connected")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), nil
}

// layer returns the content of a layer and its digest.
func layer(text string) (string, digest.Digest) { return text, digest.FromString(text) }

func newPuller(t *testing.T, host http.Handler) (*Puller, *node) {
	n := &node{images: map[string]images.Have{}, layers: map[digest.Digest][]digest.Digest{}}
	return &Puller{
		Host: handlerTransport{host}, Store: n, Layers: n, EngineDir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, n
}

// host answers with what it found, and has layers.
func host(t *testing.T, found any, layers map[digest.Digest]string) (http.Handler, *[]string) {
	var asked []string
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/find", func(w http.ResponseWriter, r *http.Request) {
		var request images.FindRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		asked = append(asked, request.Name)
		if err := json.NewEncoder(w).Encode(found); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("GET /v1/sources/s1/layers/{id}", func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, "layer "+layers[digest.Digest(r.PathValue("id"))])
		fmt.Fprint(w, layers[digest.Digest(r.PathValue("id"))])
	})
	mux.HandleFunc("DELETE /v1/sources/s1", func(http.ResponseWriter, *http.Request) { asked = append(asked, "close") })
	mux.HandleFunc("GET /v1/saved", func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, "save "+r.URL.Query().Get("name"))
		fmt.Fprint(w, "archive")
	})
	return mux, &asked
}

// Layers that the machine has are not fetched; others are, lowest first.
func TestPullFromRegistry(t *testing.T) {
	base, baseID := layer("base")
	top, topID := layer("top")
	config := []byte(`{"os":"linux"}`)
	tagged := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	found := images.Found{From: images.FromRegistry, Source: "s1", Tagged: tagged, Image: &images.Image{
		Layers: []digest.Digest{baseID, topID}, ImageParts: cluster.ImageParts{Names: []string{"other"}, Blobs: []cluster.Blob{{Data: config}}},
	}}
	handler, asked := host(t, found, map[digest.Digest]string{baseID: base, topID: top})
	p, n := newPuller(t, handler)
	pulled, err := p.Pull(t.Context(), "app:dev", true, nil)
	want := Pulled{Image: fullName, From: images.FromRegistry, ID: digest.FromBytes(config), NewLayers: 2}
	if err != nil || pulled != want {
		t.Fatalf("pulled %+v, %v, want %+v", pulled, err, want)
	}
	if got := n.images[fullName]; got.ID != want.ID || !got.Since.Equal(tagged) {
		t.Errorf("the node has %+v", got)
	}
	if below := n.layers[topID]; !slices.Equal(below, []digest.Digest{baseID}) {
		t.Errorf("below the top is %v", below)
	}
	delete(n.layers, topID)
	pulled, err = p.Pull(t.Context(), fullName, true, nil)
	if err != nil || pulled.NewLayers != 1 {
		t.Errorf("pulled again: %+v, %v, want one layer", pulled, err)
	}
	calls := []string{fullName, "layer base", "layer top", "close", fullName, "layer top", "close"}
	if !slices.Equal(*asked, calls) {
		t.Errorf("the host was asked for %q, want %q", *asked, calls)
	}
}

// A layer that another node unpacks meanwhile is none of this one's.
func TestPullBesideAnother(t *testing.T) {
	base, baseID := layer("base")
	found := images.Found{From: images.FromRegistry, Source: "s1", Image: &images.Image{
		Layers: []digest.Digest{baseID}, ImageParts: cluster.ImageParts{Blobs: []cluster.Blob{{Data: []byte("{}")}}},
	}}
	handler, _ := host(t, found, map[digest.Digest]string{baseID: base})
	p, n := newPuller(t, handler)
	p.Layers = otherFirst{n}
	if pulled, err := p.Pull(t.Context(), "app:dev", true, nil); err != nil || pulled.NewLayers != 0 {
		t.Errorf("pulled %+v, %v, want no new layer", pulled, err)
	}
}

// otherFirst are layers that another node adds first.
type otherFirst struct{ *node }

func (o otherFirst) Add(_ context.Context, _ *slog.Logger, id digest.Digest, below []digest.Digest, _ io.Reader) error {
	o.layers[id] = below
	return nil
}

func TestPullFromEngine(t *testing.T) {
	found := images.Found{From: images.FromEngine, ID: digest.FromString("x").String()}
	handler, asked := host(t, found, nil)
	p, n := newPuller(t, handler) // the engine's directory is empty
	pulled, err := p.Pull(t.Context(), "app:dev", false, nil)
	if err != nil || pulled.ID != digest.FromString("archive") || n.images[fullName].ID != pulled.ID {
		t.Errorf("pulled %+v, %v", pulled, err)
	}
	if calls := []string{fullName, "save " + fullName}; !slices.Equal(*asked, calls) {
		t.Errorf("the host was asked for %q, want %q", *asked, calls)
	}
}

func TestPullWhatIsThere(t *testing.T) {
	handler, asked := host(t, images.Found{From: images.FromNode}, nil)
	p, n := newPuller(t, handler)
	id := digest.FromString("x")
	byDigest := "docker.io/library/app@" + id.String()
	n.put(fullName, images.Have{ID: id})
	n.put(byDigest, images.Have{ID: id})
	for _, name := range []string{"app:dev", byDigest, "app:any@" + id.String()} {
		if pulled, err := p.Pull(t.Context(), name, true, nil); err != nil || pulled.From != images.FromNode || pulled.ID != id {
			t.Errorf("pulled %s: %+v, %v", name, pulled, err)
		}
	}
	if calls := []string{fullName}; !slices.Equal(*asked, calls) { // what has a digest is not asked for
		t.Errorf("the host was asked for %q, want %q", *asked, calls)
	}
}

func TestPullErrors(t *testing.T) {
	_, id := layer("right")
	image := &images.Image{Layers: []digest.Digest{id}, ImageParts: cluster.ImageParts{Blobs: []cluster.Blob{{Data: []byte("{}")}}}}
	fails := func(status int, text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, status) })
	}
	wrong, _ := host(t, images.Found{From: images.FromUpstream, Source: "s1", Image: image}, map[digest.Digest]string{id: "wrong"})
	empty, _ := host(t, images.Found{From: "moon"}, nil)
	for _, test := range []struct {
		name string
		host http.Handler
		is   error
		want string
	}{
		{"no connection", nil, ErrNotConnected, "the control plane cannot be asked for images: node is not connected"},
		{"control plane that starts", fails(http.StatusServiceUnavailable, "the control plane is starting"), ErrNotConnected, "the control plane is starting"},
		{"image that is nowhere", fails(http.StatusNotFound, "no such image: app is not in x"), cluster.ErrNoImage, "no such image: app is not in x"},
		{"registry that is down", fails(http.StatusBadGateway, "r.example does not answer"), nil, "r.example does not answer"},
		{"layer with another content", wrong, nil, "load app:dev from the registry: its content has digest " + digest.FromString("wrong").String()},
		{"control plane of another version", empty, nil, `the control plane answered without an image (from "moon"): is it of another version?`},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, n := newPuller(t, test.host)
			_, err := p.Pull(t.Context(), "app:dev", true, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %v, want %q", err, test.want)
			}
			for _, target := range []error{ErrNotConnected, cluster.ErrNoImage} {
				if want := test.is != nil && errors.Is(test.is, target); errors.Is(err, target) != want {
					t.Errorf("whether %v is %v is wrong", err, target)
				}
			}
			if len(n.images) != 0 {
				t.Errorf("the node has %v", n.images)
			}
		})
	}
}

// Whoever pulls the same image waits for the first; the pull goes on without those who do not.
func TestPullsAtOnce(t *testing.T) {
	id := digest.FromString("x")
	var asked int
	arrived, release := make(chan struct{}), make(chan struct{})
	p, n := newPuller(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/saved" {
			fmt.Fprint(w, "archive")
			return
		}
		asked++
		close(arrived)
		<-release
		_, _ = io.Copy(w, bytes.NewReader([]byte(`{"from": "engine", "id": "`+id.String()+`"}`)))
	}))
	impatient, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := p.Pull(impatient, "app:dev", false, nil)
		first <- err
	}()
	<-arrived
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who no longer waits gets %v", err)
	}
	second := make(chan error, 1)
	go func() {
		_, err := p.Pull(t.Context(), "docker.io/library/app:dev", false, nil)
		second <- err
	}()
	time.AfterFunc(20*time.Millisecond, func() { close(release) })
	if err := <-second; err != nil {
		t.Error(err)
	}
	if asked != 1 || n.images[fullName].ID == "" {
		t.Errorf("the host was asked %d times, the node has %v", asked, n.images)
	}
}
