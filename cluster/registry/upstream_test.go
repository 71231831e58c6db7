package registry_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	upstream "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/klkube/kl/cluster/registry"
)

// remoteRegistry is another registry, with faults.
type remoteRegistry struct {
	*httptest.Server
	content http.Handler

	mu     sync.Mutex
	before func(w http.ResponseWriter, r *http.Request) (done bool)
	seen   map[string]int // requests, by method and kind
}

// newRegistry starts another registry, with TLS or without. Its content is kept by go-containerregistry's or, if that is given, in a store.
func newRegistry(t *testing.T, tls bool, store *registry.Store) *remoteRegistry {
	t.Helper()
	r := &remoteRegistry{content: upstream.New(upstream.Logger(log.New(io.Discard, "", 0))), seen: map[string]int{}}
	if store != nil {
		r.content = store.Handler()
	}
	r.Server = httptest.NewUnstartedServer(r)
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	if tls {
		r.StartTLS()
	} else {
		r.Start()
	}
	t.Cleanup(r.Close)
	return r
}

func (r *remoteRegistry) host() string { return r.Listener.Addr().String() }

func (r *remoteRegistry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	before := r.before
	for _, kind := range []string{"manifests", "blobs"} {
		if strings.Contains(request.URL.Path, "/"+kind+"/") {
			r.seen[request.Method+" "+kind]++
		}
	}
	r.mu.Unlock()
	if before == nil || !before(w, request) {
		r.content.ServeHTTP(w, request)
	}
}

// with has every request go through a function first, which reports whether it has answered; nil for none.
func (r *remoteRegistry) with(before func(w http.ResponseWriter, r *http.Request) (done bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before, r.seen = before, map[string]int{}
}

func (r *remoteRegistry) requests(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[what]
}

// push pushes an image as team/app:1, whatever faults the registry has, and returns its name.
func (r *remoteRegistry) push(t *testing.T, img v1.Image) string {
	t.Helper()
	plain := httptest.NewServer(r.content)
	defer plain.Close()
	must(t, remote.Write(tag(t, strings.TrimPrefix(plain.URL, "http://")+"/team/app:1"), img))
	return r.host() + "/team/app:1"
}

// basic wants a user and password.
func basic(user, password string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, _ := r.BasicAuth(); u == user && p == password {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="a registry"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "who are you?")
		return true
	}
}

// tokens wants a token, which it gives to a user with a password.
func tokens(at, user, password string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			if u, p, _ := r.BasicAuth(); u != user || p != password {
				refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "no token for you")
			} else {
				fmt.Fprintf(w, `{"token":"for %s"}`, r.URL.Query().Get("scope"))
			}
			return true
		}
		if r.Header.Get("Authorization") == "Bearer for repository:team/app:pull" {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test",scope="repository:team/app:pull"`, at))
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
		return true
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}

// status answers requests for a kind of thing with a status.
func status(kind string, code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, kind) {
			w.WriteHeader(code)
			return true
		}
		return false
	}
}

// cut ends connections after some bytes of a blob.
func cut(content http.Handler, after int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		recorded := httptest.NewRecorder()
		content.ServeHTTP(recorded, r)
		for key, values := range recorded.Header() {
			w.Header()[key] = values
		}
		w.WriteHeader(recorded.Code)
		body := recorded.Body.Bytes()
		if _, err := w.Write(body[:min(after, len(body))]); err != nil || len(body) <= after {
			return true
		}
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// spoil sends other content than that of the digest.
func spoil(content http.Handler, kind string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, kind) {
			return false
		}
		recorded := httptest.NewRecorder()
		content.ServeHTTP(recorded, r)
		_, _ = io.Copy(w, bytes.NewReader(bytes.ToUpper(recorded.Body.Bytes())))
		return true
	}
}
