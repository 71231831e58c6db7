package observe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/klkube/kl/cluster/policy"
)

// Verdicts is what the nodes of a kl cluster say about real traffic.
type Verdicts struct {
	Denials  []policy.Denial            // the newest few hundred, oldest first
	Counters map[string]policy.Counters // by node
}

// denialLimit is how many denials are kept.
const denialLimit = 500

// Between adds up, over all nodes, what was seen on a port between ends that from and to accept; ends are named as in
// policy.Verdict. A connection is counted on each side that is isolated, so allowed are as many as the side with more says.
func (v *Verdicts) Between(from, to func(end string) bool, proto corev1.Protocol, port uint16) (allowed, denied uint64) {
	if v == nil {
		return 0, 0
	}
	var in, out uint64
	for _, c := range v.Counters {
		for _, p := range c.Pairs {
			if p.Port != port || p.Protocol != proto || !from(p.From) || !to(p.To) {
				continue
			}
			denied += p.Denied
			if p.Direction == policy.Ingress {
				in += p.Allowed
			} else {
				out += p.Allowed
			}
		}
	}
	return max(in, out), denied
}

// Policy adds up what a policy (namespace/name) did.
func (v *Verdicts) Policy(name string) (allowed, denied uint64) {
	if v == nil {
		return 0, 0
	}
	for _, c := range v.Counters {
		for _, p := range c.Policies {
			if p.Policy == name {
				allowed, denied = allowed+p.Allowed, denied+p.Denied
			}
		}
	}
	return allowed, denied
}

// watchVerdicts follows the denials and counters of every connected node of a kl cluster through the status socket.
func (s *Source) watchVerdicts(ctx context.Context) {
	if s.cfg.Layout == nil {
		return
	}
	client := socketClient(s.cfg.Layout.StatusSocket())
	var wg sync.WaitGroup
	running := map[string]context.CancelFunc{}
	every(ctx, func() time.Duration {
		connected := s.connectedNodes()
		for n, cancel := range running {
			if !slices.Contains(connected, n) {
				cancel()
				delete(running, n)
			}
		}
		for _, n := range connected {
			if running[n] != nil {
				continue
			}
			ctx, cancel := context.WithCancel(ctx)
			running[n] = cancel
			wg.Go(func() { s.followDenials(ctx, client, n) })
			wg.Go(func() { s.pollCounters(ctx, client, n) })
		}
		return time.Second
	})
	for _, cancel := range running {
		cancel()
	}
	wg.Wait()
	client.CloseIdleConnections()
}

func socketClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
}

func (s *Source) connectedNodes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	if s.next.KL != nil {
		for _, n := range s.next.KL.Nodes {
			if n.Connected {
				out = append(out, n.Name)
			}
		}
	}
	return out
}

func nodeGet(ctx context.Context, client *http.Client, node, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://kl/v1/nodes/"+node+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask node %s: %w", node, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask node %s: %w", node, err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("ask node %s: %s", node, resp.Status)
	}
	return resp.Body, nil
}

// followDenials reads a node's denials as they happen, and starts over when the stream ends.
func (s *Source) followDenials(ctx context.Context, client *http.Client, node string) {
	every(ctx, func() time.Duration {
		body, err := nodeGet(ctx, client, node, policy.DenialsPath+"?watch=1")
		if err != nil {
			s.log.Debug("follow denials", "err", err)
			return 3 * time.Second
		}
		defer body.Close()
		dec := json.NewDecoder(body)
		for {
			var d policy.Denial
			if err := dec.Decode(&d); err != nil {
				return time.Second
			}
			s.denied(d)
		}
	})
}

// denied adds a denial. One that is known, because a stream that begins anew tells it again, is replaced. Readers keep the
// old slice, so a new one is made.
func (s *Source) denied(d policy.Denial) {
	s.update(func(n *Snapshot) {
		v := n.verdicts()
		same := func(x policy.Denial) bool { return x.Node == d.Node && x.Seq == d.Seq && x.Time.Equal(d.Time) }
		list := append(slices.DeleteFunc(slices.Clone(v.Denials), same), d)
		slices.SortStableFunc(list, func(a, b policy.Denial) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Seq, b.Seq)) })
		v.Denials = list[max(0, len(list)-denialLimit):]
		n.Verdicts = &v
	})
}

// verdicts is a copy to change.
func (s *Snapshot) verdicts() Verdicts {
	if s.Verdicts == nil {
		return Verdicts{}
	}
	return *s.Verdicts
}

func (s *Source) pollCounters(ctx context.Context, client *http.Client, node string) {
	every(ctx, func() time.Duration {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		body, err := nodeGet(ctx, client, node, policy.CountersPath)
		if err != nil {
			s.log.Debug("read policy counters", "err", err)
			return 5 * time.Second
		}
		defer body.Close()
		var c policy.Counters
		if err := json.NewDecoder(body).Decode(&c); err != nil {
			return 5 * time.Second
		}
		s.update(func(n *Snapshot) {
			v := n.verdicts()
			counters := map[string]policy.Counters{node: c}
			for k, old := range v.Counters {
				if k != node {
					counters[k] = old
				}
			}
			v.Counters = counters
			n.Verdicts = &v
		})
		return 2 * time.Second
	})
}
