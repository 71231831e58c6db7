package policy

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/klkube/kl/cluster/policy"
)

// Handler serves the API in cluster/policy, at /v1/policy/.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+policy.CountersPath, a.serveCounters)
	mux.HandleFunc("GET "+policy.DenialsPath, a.serveDenials)
	return mux
}

func (a *Agent) serveCounters(w http.ResponseWriter, r *http.Request) {
	c, err := a.Counters(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	reply(w, c)
}

// Counters returns the counters since the agent started. It fails before the first round.
func (a *Agent) Counters(ctx context.Context) (policy.Counters, error) {
	m := a.enforced.Load()
	if m == nil {
		return policy.Counters{}, errors.New("policies are not synced yet")
	}
	a.tableMu.Lock()
	packets, err := a.table.Counters(ctx)
	a.tableMu.Unlock()
	if err != nil {
		return policy.Counters{}, err
	}
	out := policy.Counters{
		Node: a.cfg.Node, Unknown: packets["unknown-egress"] + packets["unknown-ingress"], Problems: m.Problems,
		Policies: policyCounters(m, packets),
	}
	a.mu.Lock()
	out.Table = a.stats
	out.Table.LogsAvailable = a.logs
	a.mu.Unlock()
	out.Pairs, out.Table.LogsLost = a.journal.pairCounters()
	return out, nil
}

// policyCounters adds up the counters of groups for each policy in them.
func policyCounters(m *policy.Model, packets map[string]uint64) []policy.Counter {
	out := []policy.Counter{}
	for _, p := range m.Policies {
		for _, d := range []policy.Direction{policy.Ingress, policy.Egress} {
			if d == policy.Ingress && !p.IsolatesIngress || d == policy.Egress && !p.IsolatesEgress {
				continue
			}
			c := policy.Counter{Policy: p.Key(), Direction: d, Allowed: packets["allow-"+short(d)+"-"+p.ID]}
			for _, g := range m.Groups {
				if g.Direction == d && slices.Contains(g.Policies, p) {
					c.Denied += packets["deny-"+short(d)+"-"+g.ID]
				}
			}
			out = append(out, c)
		}
	}
	return out
}

func (a *Agent) serveDenials(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	watch := r.URL.Query().Get("watch") == "1"
	enc := json.NewEncoder(w)
	var seq uint64
	for {
		denials, more := a.journal.after(seq)
		for _, d := range denials {
			if enc.Encode(d) != nil {
				return
			}
			seq = d.Seq
		}
		if !watch {
			return
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // fails only if the client has gone
}

// serveClaims serves the CNI plugin on a unix socket: POST /v1/pods makes a claim and answers when the pod is programmed,
// DELETE /v1/pods releases the claim. Only root may connect.
func (a *Agent) serveClaims(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(a.cfg.Socket), 0o755); err != nil {
		return err
	}
	if err := os.Remove(a.cfg.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", a.cfg.Socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(a.cfg.Socket, 0o600); err != nil {
		return errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/pods", a.serveClaim)
	mux.HandleFunc("DELETE /v1/pods", a.serveClaim)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	return srv.Serve(l)
}

func (a *Agent) serveClaim(w http.ResponseWriter, r *http.Request) {
	var c Claim
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || c.Namespace == "" || c.Name == "" {
		http.Error(w, "the claim has no namespace or name", http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodDelete {
		a.Release(c)
		return
	}
	if len(c.Addrs) == 0 || slices.Contains(c.Addrs, netip.Addr{}) {
		http.Error(w, "the claim has no address", http.StatusBadRequest)
		return
	}
	if err := a.Claim(r.Context(), c); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

func (a *Agent) setLogs(available bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.logs = available
}
