package observe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/klkube/kl/cluster"
)

// Traffic is what pods and nodes sent and received in the last hour. It comes from the kubelets, which are asked through the API
// server with the right to "get nodes/proxy". Immutable, like the snapshot it belongs to.
type Traffic struct {
	Period time.Duration
	Note   string            // why some or all of it is missing
	Nodes  map[string][]Rate // by name, oldest first, one sample each period
	Pods   map[string][]Rate // by namespace/name
}

// Rate is traffic in bytes a second, at most 4 GiB/s.
type Rate struct{ In, Out uint32 }

// trafficNodes is the maximum number of kubelets asked: an answer takes the kubelet work, and this process memory.
const trafficNodes = 32

// Pod is the history of a pod; nil if unknown or t is nil.
func (t *Traffic) Pod(namespace, name string) []Rate {
	if t == nil {
		return nil
	}
	return t.Pods[namespace+"/"+name]
}

// Node is the history of a node; nil if unknown or t is nil.
func (t *Traffic) Node(name string) []Rate {
	if t == nil {
		return nil
	}
	return t.Nodes[name]
}

// pollTraffic asks the kubelets every period.
func (s *Source) pollTraffic(ctx context.Context) {
	h := traffic{period: s.cfg.MetricsEvery, last: map[string]counted{}}
	every(ctx, func() time.Duration {
		nodes, note := s.kubelets()
		if len(nodes) == 0 && note == "" {
			return time.Second // nodes have not been listed yet
		}
		found, err := s.summaries(ctx, nodes)
		if ctx.Err() != nil {
			return 0
		}
		if err != nil {
			note = trafficError(err)
		}
		first := len(h.last) == 0
		t := h.sample(found, note)
		s.update(func(n *Snapshot) { n.Traffic = t })
		switch {
		case apierrors.IsForbidden(err):
			return 4 * s.cfg.MetricsEvery
		case first:
			return min(5*time.Second, s.cfg.MetricsEvery) // a rate needs two samples
		}
		return s.cfg.MetricsEvery
	})
}

func trafficError(err error) string {
	if apierrors.IsForbidden(err) {
		return "not allowed to ask kubelets (get nodes/proxy)"
	}
	return shortError(err)
}

// kubelets returns the nodes to ask: those that are ready and not simulated, at most trafficNodes.
func (s *Source) kubelets() (names []string, note string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	simulated := 0
	for _, n := range s.next.Nodes {
		switch {
		case cluster.IsSimulated(n.Labels):
			simulated++
		case nodeReady(n):
			names = append(names, n.Name)
		}
	}
	switch {
	case len(names) > trafficNodes:
		return names[:trafficNodes], fmt.Sprintf("measured on the first %d of %d nodes", trafficNodes, len(names))
	case len(names) == 0 && simulated > 0:
		return nil, "simulated nodes have no traffic"
	}
	return names, ""
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// summary is the part of a kubelet's /stats/summary that is needed.
type summary struct {
	Node struct {
		NodeName string   `json:"nodeName"`
		Network  *counted `json:"network"`
	} `json:"node"`
	Pods []struct {
		PodRef struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"podRef"`
		Network *counted `json:"network"`
	} `json:"pods"`
}

// counted is the counters of a network interface at one moment.
type counted struct {
	Time time.Time `json:"time"`
	In   uint64    `json:"rxBytes"`
	Out  uint64    `json:"txBytes"`
}

// summaries asks the kubelets, a few at a time. It returns the answers and, if some did not answer, one of their errors.
func (s *Source) summaries(ctx context.Context, nodes []string) ([]*summary, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		found []*summary
		last  error
		turn  = make(chan struct{}, 4)
	)
	for _, node := range nodes {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			sum, err := s.summary(ctx, node)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				last = err
				return
			}
			found = append(found, sum)
		})
	}
	wg.Wait()
	return found, last
}

func (s *Source) summary(ctx context.Context, node string) (*summary, error) {
	body, err := s.client.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("stats/summary").
		SetHeader("Accept", "application/json").Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var sum summary
	if err := json.NewDecoder(io.LimitReader(body, 32<<20)).Decode(&sum); err != nil {
		return nil, fmt.Errorf("read statistics of node %s: %w", node, err)
	}
	sum.Node.NodeName = node
	return &sum, nil
}

// traffic turns counters into rates. What it returns never changes: see keep.
type traffic struct {
	period      time.Duration
	last        map[string]counted // by node name, and by namespace/name of pods
	nodes, pods map[string][]Rate
}

func (h *traffic) sample(found []*summary, note string) *Traffic {
	seen := map[string]counted{}
	nodes, pods := map[string][]Rate{}, map[string][]Rate{}
	add := func(to, from map[string][]Rate, key string, now *counted) {
		if now == nil {
			return // pods on the host network
		}
		before, known := h.last[key]
		if seen[key] = *now; !known {
			return
		}
		series := from[key]
		if r, ok := rateOf(before, *now); ok {
			series = keep(series, r)
		} else if n := len(series); n > 0 { // the kubelet has not read the counters again
			seen[key], series = before, keep(series, series[n-1])
		} else {
			seen[key] = before
		}
		to[key] = series
	}
	for _, sum := range found {
		add(nodes, h.nodes, sum.Node.NodeName, sum.Node.Network)
		for i := range sum.Pods {
			p := &sum.Pods[i]
			add(pods, h.pods, p.PodRef.Namespace+"/"+p.PodRef.Name, p.Network)
		}
	}
	h.last, h.nodes, h.pods = seen, nodes, pods
	return &Traffic{Period: h.period, Note: note, Nodes: nodes, Pods: pods}
}

// rateOf returns the traffic between two readings, false if they are the same reading. A counter that was reset counts from 0.
func rateOf(before, now counted) (Rate, bool) {
	secs := now.Time.Sub(before.Time).Seconds()
	if secs <= 0 {
		return Rate{}, false
	}
	per := func(a, b uint64) uint32 {
		if b < a {
			a = 0
		}
		return uint32(min(math.MaxUint32, float64(b-a)/secs))
	}
	return Rate{per(before.In, now.In), per(before.Out, now.Out)}, true
}
