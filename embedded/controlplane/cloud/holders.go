package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Hub is what the cloud needs of the tunnel.
type Hub interface {
	Watch() ([]string, <-chan struct{})
	DialNode(ctx context.Context, node, network, address string) (net.Conn, error)
	AgentTransport(node string) http.RoundTripper
}

const (
	// pushTimeout is how long a node may take to change its addresses; one that is frozen holds up the others no longer.
	pushTimeout = 700 * time.Millisecond
	// probeTimeout is how long a health check may take.
	probeTimeout = 300 * time.Millisecond
	// doubts is how many questions in a row a node may leave unanswered before its health is no longer what it was.
	doubts = 3
)

// holders makes nodes hold addresses. One goroutine uses it; on may be called by any.
type holders struct {
	hub Hub
	log *slog.Logger

	mu      sync.Mutex
	current map[netip.Addr]string // address → node

	confirmed map[string][]netip.Addr // what a node has said to hold
	checks    map[check]*health
}

// check is a question about a Service's health on a node.
type check struct {
	node string
	url  string // http://ADDRESS:PORT/healthz, as seen from the node
}

type health struct {
	verdict  verdict
	silences int
	since    time.Time // of the first question
}

// startup is how long a node may take to learn of an endpoint, and is asked often.
const startup = 3 * time.Second

// impatient tells whether a check does not pass yet and may do so any moment.
func (h *holders) impatient(c check) bool {
	k := h.checks[c]
	return k != nil && k.verdict != passing && time.Since(k.since) < startup
}

func newHolders(hub Hub, log *slog.Logger) *holders {
	return &holders{hub: hub, log: log, current: map[netip.Addr]string{}, confirmed: map[string][]netip.Addr{}, checks: map[check]*health{}}
}

// on is the node that an address is on.
func (h *holders) on(a netip.Addr) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	node, ok := h.current[a]
	return node, ok
}

// recall learns from the nodes what they hold, after the control plane was away.
func (h *holders) recall(ctx context.Context, nodes []string) {
	h.each(nodes, func(node string) {
		held, err := h.ask(ctx, node, http.MethodGet, nil)
		if err != nil {
			h.log.InfoContext(ctx, "ask for addresses", "node", node, "error", err)
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, a := range held {
			h.current[a] = node
		}
	})
}

// forget is called when connections have come or gone: what nodes have confirmed may no longer hold.
func (h *holders) forget() { clear(h.confirmed) }

// apply brings the addresses to where next says: taken from one node before they are given to another. It tells whether
// all of them have confirmed.
func (h *holders) apply(ctx context.Context, next map[netip.Addr]string, nodes []string) bool {
	for a, node := range next {
		if before := h.current[a]; before != node {
			h.log.InfoContext(ctx, "load balancer address", "address", a, "node", node, "before", before)
		}
	}
	h.mu.Lock()
	h.current = next
	h.mu.Unlock()

	lists := map[string][]netip.Addr{}
	for _, node := range nodes {
		lists[node] = []netip.Addr{}
	}
	for a, node := range next {
		lists[node] = append(lists[node], a)
	}
	var losing, gaining []string
	for node, list := range lists {
		slices.SortFunc(list, netip.Addr.Compare)
		had, known := h.confirmed[node]
		switch {
		case known && slices.Equal(had, list):
		case len(list) == 0 || slices.ContainsFunc(had, func(a netip.Addr) bool { return !slices.Contains(list, a) }):
			losing = append(losing, node)
		default:
			gaining = append(gaining, node)
		}
	}
	ok := h.push(ctx, losing, lists)
	return h.push(ctx, gaining, lists) && ok
}

// push tells nodes side by side what to hold.
func (h *holders) push(ctx context.Context, nodes []string, lists map[string][]netip.Addr) bool {
	var mu sync.Mutex
	all := true
	h.each(nodes, func(node string) {
		held, err := h.ask(ctx, node, http.MethodPut, lists[node])
		mu.Lock()
		defer mu.Unlock()
		if err != nil || !slices.Equal(held, lists[node]) {
			all = false
			delete(h.confirmed, node)
			h.log.InfoContext(ctx, "node does not hold what it should", "node", node, "want", lists[node], "held", held, "error", err)
			return
		}
		h.confirmed[node] = held
	})
	return all
}

func (h *holders) each(nodes []string, f func(node string)) {
	var wg sync.WaitGroup
	for _, node := range nodes {
		wg.Go(func() { f(node) })
	}
	wg.Wait()
}

// ask is a request to a node's agent; it returns the addresses that the node holds.
func (h *holders) ask(ctx context.Context, node, method string, list []netip.Addr) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	var body io.Reader
	if list != nil {
		data, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+node+"/v1/addresses", body)
	if err != nil {
		return nil, err
	}
	resp, err := h.hub.AgentTransport(node).RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	var held []netip.Addr
	err = json.NewDecoder(resp.Body).Decode(&held)
	return held, err
}

// examine answers checks, side by side. Those that are not asked any more are forgotten.
func (h *holders) examine(ctx context.Context, want []check) map[check]verdict {
	maps.DeleteFunc(h.checks, func(c check, _ *health) bool { return !slices.Contains(want, c) })
	answers := make([]verdict, len(want))
	var wg sync.WaitGroup
	for i, c := range want {
		wg.Go(func() { answers[i] = h.probe(ctx, c) })
	}
	wg.Wait()
	verdicts := make(map[check]verdict, len(want))
	for i, c := range want {
		known := h.checks[c]
		if known == nil {
			known = &health{since: time.Now()}
			h.checks[c] = known
		}
		verdicts[c] = known.update(answers[i])
	}
	return verdicts
}

// update is the verdict after one more answer.
func (k *health) update(answer verdict) verdict {
	if answer != unknown {
		k.verdict, k.silences = answer, 0
		return k.verdict
	}
	if k.silences++; k.silences >= doubts {
		k.verdict = unknown
	}
	return k.verdict
}

// probe asks a healthCheckNodePort on its node.
func (h *holders) probe(ctx context.Context, c check) verdict {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	client := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return h.hub.DialNode(ctx, c.node, network, address)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return unknown
	}
	resp, err := client.RoundTrip(req)
	if err != nil {
		return unknown
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return failing
	}
	return passing
}
