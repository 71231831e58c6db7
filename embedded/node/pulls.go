package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/embedded/lifecycle"
	"github.com/klkube/kl/embedded/node/containerd"
	nodeimages "github.com/klkube/kl/embedded/node/images"
	"github.com/klkube/kl/embedded/node/pull"
	"github.com/klkube/kl/embedded/tunnel"
)

func newPuller(agent *tunnel.Agent, store *nodeimages.Store, shared *sharedLayers, log *slog.Logger) *pull.Puller {
	p := &pull.Puller{Host: agent.HostTransport(), Store: store, EngineDir: cluster.EngineMountDir, Logger: log}
	if shared.store != nil { // not a nil pointer in an interface
		p.Layers = shared.store
	}
	return p
}

func newImageService(p *pull.Puller) lifecycle.Component {
	return &pull.Server{Socket: imageSocket, Containerd: containerd.Socket, Puller: p}
}

// PullRequest is the body of POST /v1/pull.
type PullRequest struct {
	Name string `json:"name"` // as people write it
	// Refresh asks the machine alone, no registry of the network.
	Refresh bool         `json:"refresh"`
	Auth    *images.Auth `json:"auth,omitempty"`
}

// servePulls adds the route that brings an image to the node, as a pod would:
//
//	POST /v1/pull         PullRequest; pull.Pulled. Status 404 if the image is nowhere.
//	POST /v1/engine-image images.EngineImage; pull.Pulled. Status 501 if the node cannot read the engine's directory.
func servePulls(mux *http.ServeMux, p *pull.Puller, log *slog.Logger) {
	mux.HandleFunc("POST /v1/pull", func(w http.ResponseWriter, r *http.Request) {
		var request PullRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			answer(w, log, nil, fmt.Errorf("read request: %w", err), http.StatusBadRequest)
			return
		}
		pulled, err := p.Pull(r.Context(), request.Name, !request.Refresh, request.Auth)
		status := http.StatusBadGateway
		if errors.Is(err, cluster.ErrNoImage) {
			status = http.StatusNotFound
		}
		answer(w, log, pulled, err, status)
	})
	mux.HandleFunc("POST /v1/engine-image", func(w http.ResponseWriter, r *http.Request) {
		var image images.EngineImage
		if err := json.NewDecoder(r.Body).Decode(&image); err != nil {
			answer(w, log, nil, fmt.Errorf("read request: %w", err), http.StatusBadRequest)
			return
		}
		pulled, err := p.Load(r.Context(), image)
		status := http.StatusUnprocessableEntity
		if errors.Is(err, images.ErrNoStore) || errors.Is(err, images.ErrParts) {
			status = http.StatusNotImplemented
		}
		answer(w, log, pulled, err, status)
	})
}
