package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// handler answers requests of the OCI distribution API. go-containerregistry's own registry keeps what is being uploaded in memory and
// knows no manifest after a restart.
type handler struct{ *Store }

// Handler is the registry, to push to and pull from (OCI distribution, version 1.1). There is no authentication; what web pages of a
// browser on this machine ask for is refused.
func (s *Store) Handler() http.Handler {
	return http.NewCrossOriginProtection().Handler(handler{s})
}

// apiError is an answer that says what went wrong. Its codes are those of the distribution specification, which clients act on.
type apiError struct {
	status        int
	code, message string
}

func (e *apiError) Error() string { return e.message }

func refuse(status int, code, format string, args ...any) *apiError {
	return &apiError{status, code, fmt.Sprintf(format, args...)}
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	err := h.serve(w, r)
	if err == nil {
		return
	}
	var known *apiError
	switch {
	case errors.As(err, &known):
	case full(err):
		known = refuse(http.StatusInsufficientStorage, "DENIED", "no space left in %s", h.dir)
	case r.Context().Err() != nil:
		known = refuse(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "the request was cut off: %v", err)
	default:
		known = refuse(http.StatusInternalServerError, "UNKNOWN", "%v", err)
	}
	if known.status >= http.StatusInternalServerError {
		h.log().Warn("cannot answer a request to the registry", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	type item struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	answer(w, known.status, map[string][]item{"errors": {{known.code, known.message}}})
}

// answer sends a JSON document.
func answer(w http.ResponseWriter, status int, document any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(document) // a client that is gone gets no answer
}

// serve finds what a request is about.
func (h handler) serve(w http.ResponseWriter, r *http.Request) error {
	if !local(r.Host) {
		return refuse(http.StatusForbidden, "DENIED", "this registry is localhost's, not %q's", r.Host)
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/v2/")
	switch {
	case rest == "" && (ok || r.URL.Path == "/v2"):
		answer(w, http.StatusOK, struct{}{})
		return nil
	case ok && rest == "_catalog":
		return h.catalog(w, r)
	}
	name, kind, what := split(rest)
	if !ok || kind == "" {
		return refuse(http.StatusNotFound, "UNSUPPORTED", "%s is not a path of a registry", r.URL.Path)
	}
	if named, err := reference.WithName("localhost/" + name); err != nil || reference.Path(named) != name {
		return refuse(http.StatusBadRequest, "NAME_INVALID", "%q is not the name of a repository", name)
	}
	switch kind {
	case "manifests":
		return h.manifest(w, r, name, what)
	case "uploads":
		return h.upload(w, r, name, what)
	case "blobs":
		return h.blob(w, r, what)
	case "tags":
		return h.tags(w, r, name)
	default:
		return h.referrers(w, r, name, what)
	}
}

// split takes the path of a request apart: REPOSITORY/manifests/REFERENCE, for instance. The kind is empty if there is none.
func split(path string) (name, kind, what string) {
	if name, ok := strings.CutSuffix(path, "/tags/list"); ok {
		return name, "tags", ""
	}
	for _, k := range []struct{ kind, mark string }{
		{"uploads", "/blobs/uploads/"}, {"uploads", "/blobs/uploads"}, {"blobs", "/blobs/"}, {"manifests", "/manifests/"}, {"referrers", "/referrers/"},
	} {
		if at := strings.LastIndex(path, k.mark); at > 0 {
			if what := path[at+len(k.mark):]; !strings.Contains(what, "/") {
				return path[:at], k.kind, what
			}
		}
	}
	return "", "", ""
}

// local reports whether a request was sent to a name of this machine. Any other is a web page that has its own name lead here.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || host == "localhost" || strings.HasSuffix(host, ".localhost") || strings.HasSuffix(host, ".docker.internal")
}

func notAllowed(r *http.Request) error {
	return refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "%s is not supported here", r.Method)
}

func parseDigest(text string) (digest.Digest, error) {
	d, err := digest.Parse(text)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "DIGEST_INVALID", "%q is not a digest", text)
	}
	return d, nil
}

// repository is where one that was pushed to is.
func (s *Store) repository(name string) repository {
	return repository{s.path("repositories", strings.ReplaceAll(name, "/", "+"))}
}

func (h handler) catalog(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return notAllowed(r)
	}
	list, err := names(h.path("repositories"))
	if err != nil {
		return err
	}
	for i, name := range list {
		list[i] = strings.ReplaceAll(name, "+", "/")
	}
	list, err = page(w, r, list)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string][]string{"repositories": list})
	return nil
}

func (h handler) tags(w http.ResponseWriter, r *http.Request, name string) error {
	if r.Method != http.MethodGet {
		return notAllowed(r)
	}
	repo := h.repository(name)
	if !repo.exists() {
		return refuse(http.StatusNotFound, "NAME_UNKNOWN", "nothing was pushed to %s", name)
	}
	list, err := repo.list("tags")
	if err != nil {
		return err
	}
	list, err = page(w, r, list)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, map[string]any{"name": name, "tags": list})
	return nil
}

// page cuts a sorted list as the query asks for, and says where the rest is.
func page(w http.ResponseWriter, r *http.Request, list []string) ([]string, error) {
	query := r.URL.Query()
	rest := make([]string, 0, len(list)) // an empty list is [] in JSON
	for _, name := range list {
		if name > query.Get("last") {
			rest = append(rest, name)
		}
	}
	if query.Get("n") == "" {
		return rest, nil
	}
	n, err := strconv.Atoi(query.Get("n"))
	if err != nil || n < 0 {
		return nil, refuse(http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "%q is not a number of names", query.Get("n"))
	}
	if n < len(rest) {
		rest = rest[:n]
		if n > 0 {
			next := url.Values{"n": {strconv.Itoa(n)}, "last": {rest[n-1]}}
			w.Header().Set("Link", fmt.Sprintf("<%s?%s>; rel=\"next\"", r.URL.Path, next.Encode()))
		}
	}
	return rest, nil
}

// blob serves GET and HEAD of a blob. Blobs are not of one repository alone, so that none can be deleted: see Collect.
func (h handler) blob(w http.ResponseWriter, r *http.Request, what string) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return notAllowed(r)
	}
	d, err := parseDigest(what)
	if err != nil {
		return err
	}
	err = h.refresh(r.Context(), d)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(http.StatusNotFound, "BLOB_UNKNOWN", "there is no blob %s", d)
	}
	if err != nil {
		return err
	}
	f, err := h.openBlob(d)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w.Header().Set("Docker-Content-Digest", d.String())
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Etag", strconv.Quote(d.String()))
	http.ServeContent(w, r, "", info.ModTime(), f)
	return nil
}
