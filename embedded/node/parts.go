package node

import (
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/klkube/kl/cluster"
)

// parts keeps the last status of each component of the node.
type parts struct {
	mu  sync.Mutex
	all cluster.NodeProgram
}

func newParts(started time.Time) *parts { return &parts{all: cluster.NodeProgram{Started: started}} }

// note is for lifecycle.Supervisor.Changed.
func (p *parts) note(c cluster.ComponentStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.all.Components, func(o cluster.ComponentStatus) bool { return o.Name == c.Name })
	if i < 0 {
		p.all.Components = append(p.all.Components, c)
		return
	}
	p.all.Components[i] = c
}

// serve adds a route to the agent's: GET /v1/components, a cluster.NodeProgram.
func (p *parts) serve(mux *http.ServeMux, log *slog.Logger) {
	mux.HandleFunc("GET /v1/components", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		all := p.all
		all.Components = slices.Clone(all.Components)
		p.mu.Unlock()
		answer(w, log, all, nil, http.StatusOK)
	})
}
