package observe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/policy"
)

// Verdicts is what the nodes of a kl cluster have decided about real traffic.
type Verdicts struct {
	Denials  []policy.Denial            // the newest few hundred, oldest first
	Counters map[string]policy.Counters // by node
}

// denialLimit is how many denials are kept.
const denialLimit = 500

// Between adds up, over all nodes, the connections on a port between the ends that from and to select; ends are named as in
// policy.Verdict. A connection is counted on each side that is isolated, so allowed is the larger of the two counts.
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

// Policy adds up the connections that a policy (namespace/name) allowed and the packets it denied, over all nodes.
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

// watchVerdicts follows the denials and counters of the connected nodes of a kl cluster.
func (s *Source) watchVerdicts(ctx context.Context) {
	if s.cfg.Layout == nil {
		return
	}
	client := cluster.NewClient(*s.cfg.Layout)
	defer client.Close()
	var wg sync.WaitGroup
	for _, follow := range []func(context.Context) error{
		func(ctx context.Context) error { return FollowDenials(ctx, client, s.log, s.addDenial) },
		func(ctx context.Context) error {
			return eachConnected(ctx, client, func(ctx context.Context, node string) { s.pollCounters(ctx, client, node) })
		},
	} {
		wg.Go(func() {
			wait.UntilWithContext(ctx, func(ctx context.Context) {
				if err := follow(ctx); ctx.Err() == nil {
					s.log.Debug("watch verdicts", "err", err)
				}
			}, streamRetry)
		})
	}
	wg.Wait()
}

// addDenial adds a denial, or replaces it if it is known: a stream that is opened again repeats what the node remembers.
// Readers may hold the old slice, so a new one is made.
func (s *Source) addDenial(d policy.Denial) {
	s.update(func(n *Snapshot) {
		v := n.verdicts()
		same := func(x policy.Denial) bool { return x.Node == d.Node && x.Seq == d.Seq && x.Time.Equal(d.Time) }
		list := append(slices.DeleteFunc(slices.Clone(v.Denials), same), d)
		slices.SortStableFunc(list, func(a, b policy.Denial) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Seq, b.Seq)) })
		v.Denials = list[max(0, len(list)-denialLimit):]
		n.Verdicts = &v
	})
}

// verdicts returns a copy of the verdicts that may be changed.
func (s *Snapshot) verdicts() Verdicts {
	if s.Verdicts == nil {
		return Verdicts{}
	}
	return *s.Verdicts
}

// ReadCounters returns what a node of a kl cluster has counted.
func ReadCounters(ctx context.Context, client *cluster.Client, node string) (policy.Counters, error) {
	var c policy.Counters
	resp, err := client.Node(ctx, node, http.MethodGet, policy.CountersPath, nil)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&c); err != nil {
		return c, fmt.Errorf("read policy counters: %w", err)
	}
	return c, nil
}

func (s *Source) pollCounters(ctx context.Context, client *cluster.Client, node string) {
	every(ctx, func() time.Duration {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		c, err := ReadCounters(ctx, client, node)
		if err != nil {
			s.log.Debug("read policy counters", "node", node, "err", err)
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
