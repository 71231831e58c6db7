package balance

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

// Hub reaches nodes: tunnel.Hub.
type Hub interface {
	// Watch returns the connected nodes and a channel that is closed when they change.
	Watch() ([]string, <-chan struct{})
	DialNode(ctx context.Context, node, network, address string) (net.Conn, error)
	AgentTransport(node string) http.RoundTripper
}

const (
	// pushTimeout is how long a node may take to change its addresses. One that hangs delays the others by that.
	pushTimeout = 700 * time.Millisecond
	// probeTimeout is how long a health check may take.
	probeTimeout = 300 * time.Millisecond
	// failureThreshold is how many health checks in a row a node may leave unanswered before its health is unknown.
	failureThreshold = 3
	// startup is how long a node may take to learn of an endpoint. It is probed often meanwhile.
	startup = 3 * time.Second
)

// announcer tells nodes which addresses to hold, and probes the health of Services on them. holder is safe for concurrent
// use, everything else is for one goroutine.
type announcer struct {
	hub Hub
	log *slog.Logger

	mu      sync.Mutex
	current map[netip.Addr]string // address → node

	confirmed map[string][]netip.Addr // node → addresses that its agent has confirmed
	checks    map[check]*health
}

// check identifies the health check of a Service on a node.
type check struct {
	node string
	url  string // http://ADDRESS:PORT/healthz, as seen from the node
}

// health is the state of a check.
type health struct {
	verdict    verdict
	unanswered int       // probes in a row
	since      time.Time // of the first probe
}

// starting reports whether a check does not pass yet and may do so soon.
func (a *announcer) starting(c check) bool {
	k := a.checks[c]
	return k != nil && k.verdict != passing && time.Since(k.since) < startup
}

func newAnnouncer(hub Hub, log *slog.Logger) *announcer {
	return &announcer{hub: hub, log: log, current: map[netip.Addr]string{}, confirmed: map[string][]netip.Addr{}, checks: map[check]*health{}}
}

// holder returns the node that holds an address.
func (a *announcer) holder(addr netip.Addr) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	node, ok := a.current[addr]
	return node, ok
}

// restore asks the nodes which addresses they hold, after a start of the control plane.
func (a *announcer) restore(ctx context.Context, nodes []string) {
	inParallel(nodes, func(node string) {
		held, err := a.request(ctx, node, http.MethodGet, nil)
		if err != nil {
			a.log.InfoContext(ctx, "read addresses of node", "node", node, "error", err)
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, addr := range held {
			a.current[addr] = node
		}
	})
}

// invalidate makes apply tell all nodes again: an agent that was restarted has lost its addresses.
func (a *announcer) invalidate() { clear(a.confirmed) }

// apply moves the addresses to the nodes that next says. An address is removed from one node before another gets it. apply
// reports whether all nodes have confirmed.
func (a *announcer) apply(ctx context.Context, next map[netip.Addr]string, nodes []string) bool {
	for addr, node := range next {
		if before := a.current[addr]; before != node {
			a.log.InfoContext(ctx, "load balancer address moves", "address", addr, "from", before, "to", node)
		}
	}
	a.mu.Lock()
	a.current = next
	a.mu.Unlock()

	lists := map[string][]netip.Addr{}
	for _, node := range nodes {
		lists[node] = []netip.Addr{}
	}
	for addr, node := range next {
		lists[node] = append(lists[node], addr)
	}
	var losing, gaining []string
	for node, list := range lists {
		slices.SortFunc(list, netip.Addr.Compare)
		had, known := a.confirmed[node]
		switch {
		case known && slices.Equal(had, list):
		case len(list) == 0 || slices.ContainsFunc(had, func(addr netip.Addr) bool { return !slices.Contains(list, addr) }):
			losing = append(losing, node)
		default:
			gaining = append(gaining, node)
		}
	}
	ok := a.push(ctx, losing, lists)
	return a.push(ctx, gaining, lists) && ok
}

// push sends nodes their lists in parallel, and reports whether all have confirmed.
func (a *announcer) push(ctx context.Context, nodes []string, lists map[string][]netip.Addr) bool {
	var mu sync.Mutex
	all := true
	inParallel(nodes, func(node string) {
		held, err := a.request(ctx, node, http.MethodPut, lists[node])
		mu.Lock()
		defer mu.Unlock()
		if err != nil || !slices.Equal(held, lists[node]) {
			all = false
			delete(a.confirmed, node)
			a.log.InfoContext(ctx, "change addresses of node", "node", node, "want", lists[node], "held", held, "error", err)
			return
		}
		a.confirmed[node] = held
	})
	return all
}

func inParallel(nodes []string, f func(node string)) {
	var wg sync.WaitGroup
	for _, node := range nodes {
		wg.Go(func() { f(node) })
	}
	wg.Wait()
}

// request reads or replaces the addresses of a node, and returns those it holds then.
func (a *announcer) request(ctx context.Context, node, method string, list []netip.Addr) ([]netip.Addr, error) {
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
	resp, err := a.hub.AgentTransport(node).RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // as much of the reason as there is
		return nil, fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	var held []netip.Addr
	if err := json.NewDecoder(resp.Body).Decode(&held); err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	return held, nil
}

// probeAll probes the wanted checks in parallel and forgets all others.
func (a *announcer) probeAll(ctx context.Context, want []check) map[check]verdict {
	maps.DeleteFunc(a.checks, func(c check, _ *health) bool { return !slices.Contains(want, c) })
	answers := make([]verdict, len(want))
	var wg sync.WaitGroup
	for i, c := range want {
		wg.Go(func() { answers[i] = a.probe(ctx, c) })
	}
	wg.Wait()
	verdicts := make(map[check]verdict, len(want))
	for i, c := range want {
		known := a.checks[c]
		if known == nil {
			known = &health{since: time.Now()}
			a.checks[c] = known
		}
		verdicts[c] = known.update(answers[i])
	}
	return verdicts
}

// update adds the answer to one probe and returns the verdict.
func (h *health) update(answer verdict) verdict {
	if answer != unknown {
		h.verdict, h.unanswered = answer, 0
		return h.verdict
	}
	if h.unanswered++; h.unanswered >= failureThreshold {
		h.verdict = unknown
	}
	return h.verdict
}

// probe requests a Service's healthCheckNodePort on a node.
func (a *announcer) probe(ctx context.Context, c check) verdict {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	client := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return a.hub.DialNode(ctx, c.node, network, address)
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
