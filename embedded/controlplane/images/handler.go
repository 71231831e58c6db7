package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
)

// maxRequest bounds what a node asks with, in bytes.
const maxRequest = 1 << 20

// Handler serves nodes:
//
//	POST   /v1/find                          images.FindRequest; images.Found
//	GET    /v1/saved?name=                   an image of the engine, as docker-archive
//	GET    /v1/sources/{source}/layers/{id}  a layer by its diff ID, as an uncompressed tar
//	DELETE /v1/sources/{source}              the node needs no more layers of it
//
// Errors are plain text, with status 404 for an image or a layer that is nowhere.
func (f *Finder) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/find", func(w http.ResponseWriter, r *http.Request) {
		var request images.FindRequest
		if err := json.NewDecoder(io.LimitReader(r.Body, maxRequest)).Decode(&request); err != nil {
			f.fail(w, fmt.Errorf("read request: %w", err), http.StatusBadRequest)
			return
		}
		found, err := f.Find(r.Context(), request)
		if err != nil {
			f.fail(w, err, http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(found) // fails only if the node has gone
	})
	mux.HandleFunc("GET /v1/saved", func(w http.ResponseWriter, r *http.Request) {
		engine, err := f.open(r.Context())
		if err != nil {
			f.fail(w, err, http.StatusBadGateway)
			return
		}
		archive, err := engine.SaveImages(r.Context(), []string{r.URL.Query().Get("name")})
		f.send(w, archive, err)
	})
	mux.HandleFunc("GET /v1/sources/{source}/layers/{id}", func(w http.ResponseWriter, r *http.Request) {
		source, release, err := f.sources.take(r.PathValue("source"))
		if err != nil {
			f.fail(w, err, http.StatusNotFound)
			return
		}
		defer release()
		layer, err := source.Layer(r.Context(), digest.Digest(r.PathValue("id")))
		f.send(w, layer, err)
	})
	mux.HandleFunc("DELETE /v1/sources/{source}", func(_ http.ResponseWriter, r *http.Request) {
		f.sources.remove(r.PathValue("source"))
	})
	return mux
}

// send sends a stream. One that breaks off ends the connection, so that the node does not take it for whole.
func (f *Finder) send(w http.ResponseWriter, stream io.ReadCloser, err error) {
	if err != nil {
		f.fail(w, err, http.StatusBadGateway)
		return
	}
	defer stream.Close()
	if _, err := io.Copy(w, stream); err != nil {
		f.Logger.Warn("an image did not reach the node", "reason", err)
		panic(http.ErrAbortHandler)
	}
}

func (f *Finder) fail(w http.ResponseWriter, err error, status int) {
	if errors.Is(err, cluster.ErrNoImage) {
		status = http.StatusNotFound
	}
	http.Error(w, err.Error(), status)
}
