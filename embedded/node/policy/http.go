package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/policy"
)

// Handler serves the paths of cluster/policy's API, below /v1/policy/.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+policy.CountersPath, a.serveCounters)
	mux.HandleFunc("GET "+policy.DenialsPath, a.serveDenials)
	mux.HandleFunc("GET "+policy.ExplainPath, a.serveExplain)
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

// Counters returns what was counted since the agent started.
func (a *Agent) Counters(ctx context.Context) (policy.Counters, error) {
	m, _ := a.enforced()
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
func policyCounters(m *policy.Model, packets map[string]uint64) []policy.PolicyCounter {
	out := []policy.PolicyCounter{}
	for _, p := range m.Policies {
		for _, d := range []policy.Direction{policy.Ingress, policy.Egress} {
			if d == policy.Ingress && !p.IsolatesIngress || d == policy.Egress && !p.IsolatesEgress {
				continue
			}
			c := policy.PolicyCounter{Policy: p.Key(), Direction: d, Allowed: packets["allow-"+short(d)+"-"+p.ID]}
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

func (a *Agent) serveExplain(w http.ResponseWriter, r *http.Request) {
	m, _ := a.enforced()
	if m == nil {
		http.Error(w, "policies are not synced yet", http.StatusServiceUnavailable)
		return
	}
	v, err := explain(m, r.URL.Query().Get("from"), r.URL.Query().Get("to"), r.URL.Query().Get("port"), r.URL.Query().Get("protocol"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	reply(w, v)
}

func explain(m *policy.Model, from, to, port, protocol string) (policy.Verdict, error) {
	src, err := m.Resolve(from)
	if err != nil {
		return policy.Verdict{}, fmt.Errorf("from: %w", err)
	}
	dst, err := m.Resolve(to)
	if err != nil {
		return policy.Verdict{}, fmt.Errorf("to: %w", err)
	}
	var number uint64
	if port != "" {
		if number, err = strconv.ParseUint(port, 10, 16); err != nil {
			return policy.Verdict{}, fmt.Errorf("port %q is not a number from 0 to 65535", port)
		}
	}
	if protocol == "" {
		protocol = "TCP"
	}
	return m.Verdict(src, dst, corev1.Protocol(strings.ToUpper(protocol)), uint16(number)), nil
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // an error means that the reader has gone
}

// serveClaims answers the CNI plugin on a unix socket: POST /v1/pods holds a claim and answers when it is programmed,
// DELETE /v1/pods releases it. Only root may connect.
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
		http.Error(w, "a claim with namespace and name is wanted", http.StatusBadRequest)
		return
	}
	if r.Method == http.MethodDelete {
		a.Release(c)
		return
	}
	if len(c.Addrs) == 0 || slices.Contains(c.Addrs, netip.Addr{}) {
		http.Error(w, "a claim without an address", http.StatusBadRequest)
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
