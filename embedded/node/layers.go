package node

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/layers"
)

// unusedLayerAge is how long layers stay that no node uses: somebody may build on them tomorrow.
const unusedLayerAge = 7 * 24 * time.Hour

// LayersName is what a node is called in the store of layers, which it shares with nodes of other clusters.
func LayersName(c cluster.NodeConfig) string { return c.Cluster + "." + c.Name }

// sharedLayers serves the layers that the nodes of this machine share, and removes those that nobody uses:
//
//	GET /v1/layers       []string, the diff IDs of those that are there
//	PUT /v1/layers/{id}  an uncompressed tar of that digest in the body; ?below= names the layers below it, the nearest first
//
// A node that shares none, since an older kl made it or its directory cannot hold them, answers 404.
type sharedLayers struct {
	store *layers.Store // nil if it shares none
	log   *slog.Logger
}

func newSharedLayers(c cluster.NodeConfig, log *slog.Logger) *sharedLayers {
	store, err := layers.Open(cluster.LayersMountDir, LayersName(c))
	if err != nil {
		log.Info("this node shares no layers", "reason", err)
	}
	return &sharedLayers{store, log}
}

func (l *sharedLayers) Name() cluster.ComponentName { return "layers" }

// Run looks for layers that nobody uses once an hour. Not at its start, when there is more to do.
func (l *sharedLayers) Run(ctx context.Context, ready func()) error {
	ready()
	hour := time.NewTicker(time.Hour)
	defer hour.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-hour.C:
		}
		if l.store == nil {
			continue
		}
		removed, err := l.store.Collect(ctx, unusedLayerAge, nil)
		if err != nil || len(removed) > 0 {
			l.log.Info("removed layers that no node used", "layers", removed, "err", err)
		}
	}
}

func (l *sharedLayers) serve(mux *http.ServeMux) {
	if l.store == nil {
		return
	}
	mux.HandleFunc("GET /v1/layers", func(w http.ResponseWriter, _ *http.Request) {
		list, err := l.store.List()
		answer(w, l.log, list, err, http.StatusInternalServerError)
	})
	mux.HandleFunc("PUT /v1/layers/{id}", func(w http.ResponseWriter, r *http.Request) {
		var below []digest.Digest
		for id := range strings.SplitSeq(r.URL.Query().Get("below"), ",") {
			below = append(below, digest.Digest(id))
		}
		err := l.store.Add(r.Context(), l.log, digest.Digest(r.PathValue("id")), below, r.Body)
		answer(w, l.log, struct{}{}, err, http.StatusUnprocessableEntity)
	})
}
