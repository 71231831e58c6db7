package node

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/layers"
)

// serveLayers adds the routes of the layers that the nodes of this machine share:
//
//	GET /v1/layers       []string, the diff IDs of those that are there
//	PUT /v1/layers/{id}  an uncompressed tar of that digest in the body; ?below= names the layers below it, the nearest first
//
// A node that shares none, since an older kl made it or its directory cannot hold them, answers 404.
func serveLayers(mux *http.ServeMux, c cluster.NodeConfig, log *slog.Logger) {
	store, err := layers.Open(cluster.LayersMountDir, c.Cluster+"."+c.Name)
	if err != nil {
		log.Info("this node shares no layers", "reason", err)
		return
	}
	mux.HandleFunc("GET /v1/layers", func(w http.ResponseWriter, _ *http.Request) {
		list, err := store.List()
		answer(w, log, list, err, http.StatusInternalServerError)
	})
	mux.HandleFunc("PUT /v1/layers/{id}", func(w http.ResponseWriter, r *http.Request) {
		var below []digest.Digest
		for id := range strings.SplitSeq(r.URL.Query().Get("below"), ",") {
			below = append(below, digest.Digest(id))
		}
		err := store.Add(r.Context(), log, digest.Digest(r.PathValue("id")), below, r.Body)
		answer(w, log, struct{}{}, err, http.StatusUnprocessableEntity)
	})
}
