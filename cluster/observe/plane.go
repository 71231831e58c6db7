package observe

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Plane is the state of the control plane according to the API server's /metrics. The values of etcd and the scheduler are
// NaN unless this is a kl cluster, where one process has the metrics of all components.
type Plane struct {
	Taken time.Time
	Err   string
	Verbs []VerbStat // by request rate, highest first

	RequestsPerSecond []float64 // histories, oldest first, one value each period
	ScheduledHistory  []float64 // pods a second
	FsyncHistory      []float64 // p99 in seconds; -1 if nothing was written
	Inflight          float64
	EtcdBytes         float64 // size of the database
	FsyncP99          float64 // seconds
	SchedulerPending  float64 // pods in the queue
	ScheduledPerSec   float64
	SchedulerP99      float64 // seconds for one pod
}

// VerbStat is the traffic of one verb since the previous poll.
type VerbStat struct {
	Verb   string
	Rate   float64 // requests a second
	Errors float64 // answers ≥ 500 a second
	P50    float64 // seconds; NaN without requests
	P99    float64
}

// pollPlane reads /metrics every period. WATCH and CONNECT live long, so they count as requests but have no latency.
func (s *Source) pollPlane(ctx context.Context) {
	var prev *scrape
	var last *Plane
	every(ctx, func() time.Duration {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		cur, err := s.scrape(ctx)
		if err != nil {
			p := Plane{}
			if last != nil {
				p = *last
			}
			p.Err = shortError(err)
			s.update(func(n *Snapshot) { n.Plane = &p })
			if apierrors.IsForbidden(err) {
				return max(refusedEvery, s.cfg.MetricsEvery)
			}
			return s.cfg.MetricsEvery * 2
		}
		p := cur.plane(prev)
		if prev != nil {
			p.remember(last)
		}
		first := prev == nil
		prev, last = cur, p
		s.update(func(n *Snapshot) { n.Plane = p })
		if first {
			return min(3*time.Second, s.cfg.MetricsEvery) // a rate needs two samples
		}
		return s.cfg.MetricsEvery
	})
}

// remember continues the histories of the previous sample.
func (p *Plane) remember(last *Plane) {
	total := 0.0
	for _, v := range p.Verbs {
		total += v.Rate
	}
	p.RequestsPerSecond = keep(last.RequestsPerSecond, total)
	p.ScheduledHistory = keep(last.ScheduledHistory, gapIfNaN(p.ScheduledPerSec))
	p.FsyncHistory = keep(last.FsyncHistory, gapIfNaN(p.FsyncP99))
}

// gapIfNaN returns v, or -1 for NaN, which charts show as a gap.
func gapIfNaN(v float64) float64 {
	if math.IsNaN(v) {
		return -1
	}
	return v
}

// scrape reads the metrics of the API server and, in a kl cluster, of etcd, which serves its own.
func (s *Source) scrape(ctx context.Context) (*scrape, error) {
	body, err := s.client.Discovery().RESTClient().Get().AbsPath("/metrics").SetHeader("Accept", "text/plain").Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	c := newScrape(time.Now())
	if err := c.read(body); err != nil {
		return nil, err
	}
	if s.cfg.Layout == nil {
		return c, nil
	}
	if err := s.scrapeEtcd(ctx, c); err != nil {
		s.log.Debug("read etcd's metrics", "err", err)
	}
	return c, nil
}

func (s *Source) scrapeEtcd(ctx context.Context, c *scrape) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", s.cfg.Layout.EtcdSocket())
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://etcd/metrics", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd answers %s", resp.Status)
	}
	return c.read(resp.Body)
}

// plane computes the rates since the previous scrape. Without one, latencies are those since the server's start.
func (c *scrape) plane(prev *scrape) *Plane {
	p := &Plane{Taken: c.at, FsyncP99: math.NaN(), SchedulerP99: math.NaN(), EtcdBytes: math.NaN(),
		SchedulerPending: math.NaN(), ScheduledPerSec: math.NaN()}
	secs := 0.0
	if prev != nil {
		secs = c.at.Sub(prev.at).Seconds()
	} else {
		prev = &scrape{}
	}
	rate := func(now, before float64) float64 {
		if secs <= 0 || now < before {
			return 0
		}
		return (now - before) / secs
	}
	for verb, n := range c.requests {
		v := VerbStat{Verb: verb, Rate: rate(n, prev.requests[verb]), Errors: rate(c.failed[verb], prev.failed[verb]),
			P50: math.NaN(), P99: math.NaN()}
		if verb != "WATCH" && verb != "CONNECT" {
			d := since(c.latency[verb], prev.latency[verb])
			v.P50, v.P99 = quantile(d, 0.5), quantile(d, 0.99)
		}
		p.Verbs = append(p.Verbs, v)
	}
	slices.SortFunc(p.Verbs, func(a, b VerbStat) int {
		if a.Rate != b.Rate {
			return int(math.Copysign(1, b.Rate-a.Rate))
		}
		return strings.Compare(a.Verb, b.Verb)
	})
	for _, name := range []string{"etcd_mvcc_db_total_size_in_bytes", "apiserver_storage_size_bytes"} {
		if v, ok := c.gauges[name]; ok {
			p.EtcdBytes = v
		}
	}
	if v, ok := c.gauges["scheduler_pending_pods"]; ok {
		p.SchedulerPending = v
		p.ScheduledPerSec = rate(c.counters["scheduler_schedule_attempts_total"], prev.counters["scheduler_schedule_attempts_total"])
	}
	p.Inflight = c.gauges["apiserver_current_inflight_requests"]
	p.FsyncP99 = quantile(since(c.fsync, prev.fsync), 0.99)
	p.SchedulerP99 = quantile(since(c.sched, prev.sched), 0.99)
	return p
}
