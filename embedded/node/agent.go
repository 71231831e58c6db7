package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/klkube/kl/cluster"
)

// imageStore is the part of images.Store that the agent uses.
type imageStore interface {
	Import(ctx context.Context, archive io.Reader) ([]cluster.Image, error)
	List(ctx context.Context) ([]cluster.Image, error)
	Assemble(ctx context.Context, parts []cluster.ImageParts) ([]cluster.Image, error)
	Remove(ctx context.Context, names []string) error
	Loaded(ctx context.Context) ([]cluster.ImageParts, error)
}

// Info is the answer to GET /v1/info.
type Info struct {
	Node    string     `json:"node"`
	Version string     `json:"version"`
	Memory  Memory     `json:"memory"`
	Total   int64      `json:"memoryBytes"` // the sum of Memory
	Load    [3]float64 `json:"load"`        // of the machine: 1, 5 and 15 minutes
	Images  int        `json:"images"`
}

// agentHandler serves the control plane's requests, which come through the tunnel:
//
//	GET  /v1/images        []cluster.Image
//	POST /v1/images        an archive in the body; the imported []cluster.Image
//	DELETE /v1/images      removes the names ?name=, and what has no other name
//	GET  /v1/image-parts   []cluster.ImageParts of the images that were loaded, for another node
//	POST /v1/image-parts   []cluster.ImageParts, whose layers are there; the []cluster.Image made of them
//	GET  /v1/info          Info
//	GET  /v1/certificates  []cluster.Certificate, the kubelet's
//
// Errors are plain text with a matching status. Other components add their own routes.
func agentHandler(node, version string, store imageStore, log *slog.Logger) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/images", func(w http.ResponseWriter, r *http.Request) {
		list, err := store.List(r.Context())
		answer(w, log, list, err, http.StatusServiceUnavailable)
	})
	mux.HandleFunc("POST /v1/images", func(w http.ResponseWriter, r *http.Request) {
		list, err := store.Import(r.Context(), r.Body)
		answer(w, log, list, err, http.StatusUnprocessableEntity)
	})
	mux.HandleFunc("DELETE /v1/images", func(w http.ResponseWriter, r *http.Request) {
		err := store.Remove(r.Context(), r.URL.Query()["name"])
		answer(w, log, struct{}{}, err, http.StatusConflict)
	})
	mux.HandleFunc("GET /v1/image-parts", func(w http.ResponseWriter, r *http.Request) {
		list, err := store.Loaded(r.Context())
		answer(w, log, list, err, http.StatusServiceUnavailable)
	})
	mux.HandleFunc("POST /v1/image-parts", func(w http.ResponseWriter, r *http.Request) {
		var parts []cluster.ImageParts
		if err := json.NewDecoder(r.Body).Decode(&parts); err != nil {
			answer(w, log, nil, fmt.Errorf("read parts of images: %w", err), http.StatusBadRequest)
			return
		}
		list, err := store.Assemble(r.Context(), parts)
		answer(w, log, list, err, http.StatusUnprocessableEntity)
	})
	mux.HandleFunc("GET /v1/info", func(w http.ResponseWriter, r *http.Request) {
		info, err := readInfo(r.Context(), node, version, store)
		answer(w, log, info, err, http.StatusInternalServerError)
	})
	mux.HandleFunc("GET /v1/certificates", func(w http.ResponseWriter, _ *http.Request) {
		list, err := readCertificates(node, certDir)
		answer(w, log, list, err, http.StatusInternalServerError)
	})
	return mux
}

func answer(w http.ResponseWriter, log *slog.Logger, value any, err error, status int) {
	if err != nil {
		log.Warn("request of the control plane failed", "err", err)
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // fails only if the client has gone
}

func readInfo(ctx context.Context, node, version string, store imageStore) (Info, error) {
	memory, err := readMemory("/proc")
	if err != nil {
		return Info{}, fmt.Errorf("read memory: %w", err)
	}
	info := Info{Node: node, Version: version, Memory: memory, Total: memory.Total()}
	if list, err := store.List(ctx); err == nil { // containerd may still be starting: then none are counted
		info.Images = len(list)
	}
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return Info{}, fmt.Errorf("read load: %w", err)
	}
	_, err = fmt.Fscan(strings.NewReader(string(data)), &info.Load[0], &info.Load[1], &info.Load[2])
	return info, err
}
