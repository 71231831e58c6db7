package observe

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Plane is what the API server's /metrics says about the control plane. In a kl cluster one process holds all of it, so
// etcd and scheduler figures are there too; elsewhere they are absent (NaN).
type Plane struct {
	Taken time.Time
	Err   string
	Verbs []VerbStat // by request rate, highest first

	RequestsPerSecond []float64 // history, oldest first, one a period
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
	var rates []float64
	every(ctx, func() time.Duration {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		cur, err := s.scrape(ctx)
		if err != nil {
			msg := shortError(err)
			s.update(func(n *Snapshot) {
				p := Plane{Err: msg}
				if n.Plane != nil {
					p = *n.Plane
					p.Err = msg
				}
				n.Plane = &p
			})
			return s.cfg.MetricsEvery * 2
		}
		p := cur.plane(prev)
		if prev != nil {
			total := 0.0
			for _, v := range p.Verbs {
				total += v.Rate
			}
			rates = append(rates, total)
			rates = rates[max(0, len(rates)-historyLen):]
		}
		p.RequestsPerSecond = rates
		first := prev == nil
		prev = cur
		s.update(func(n *Snapshot) { n.Plane = p })
		if first {
			return min(3*time.Second, s.cfg.MetricsEvery) // rates need two looks
		}
		return s.cfg.MetricsEvery
	})
}

func (s *Source) scrape(ctx context.Context) (*scrape, error) {
	body, err := s.client.Discovery().RESTClient().Get().AbsPath("/metrics").SetHeader("Accept", "text/plain").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	return parseScrape(bytes.NewReader(body), time.Now()), nil
}

// scrape is the few families wanted of one /metrics, summed over the labels that do not matter here.
type scrape struct {
	at       time.Time
	requests map[string]float64             // verb
	failed   map[string]float64             // verb
	latency  map[string]map[float64]float64 // verb → upper bound → cumulative count
	fsync    map[float64]float64
	sched    map[float64]float64
	gauges   map[string]float64
	counters map[string]float64
}

func parseScrape(r io.Reader, at time.Time) *scrape {
	c := &scrape{at: at, requests: map[string]float64{}, failed: map[string]float64{}, latency: map[string]map[float64]float64{},
		fsync: map[float64]float64{}, sched: map[float64]float64{}, gauges: map[string]float64{}, counters: map[string]float64{}}
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), 1<<20)
	for sc.Scan() {
		c.line(sc.Text())
	}
	return c
}

func (c *scrape) line(l string) {
	if l == "" || l[0] == '#' {
		return
	}
	name, rest := l, ""
	if i := strings.IndexAny(l, "{ "); i > 0 {
		name, rest = l[:i], l[i:]
	}
	switch name {
	case "apiserver_request_total":
		labels, v := sampleOf(rest)
		verb := labelOf(labels, "verb")
		c.requests[verb] += v
		if strings.HasPrefix(labelOf(labels, "code"), "5") {
			c.failed[verb] += v
		}
	case "apiserver_request_duration_seconds_bucket":
		labels, v := sampleOf(rest)
		verb := labelOf(labels, "verb")
		if c.latency[verb] == nil {
			c.latency[verb] = map[float64]float64{}
		}
		c.latency[verb][bound(labels)] += v
	case "etcd_disk_wal_fsync_duration_seconds_bucket":
		labels, v := sampleOf(rest)
		c.fsync[bound(labels)] += v
	case "scheduler_scheduling_attempt_duration_seconds_bucket":
		labels, v := sampleOf(rest)
		c.sched[bound(labels)] += v
	case "apiserver_storage_size_bytes", "etcd_mvcc_db_total_size_in_bytes", "scheduler_pending_pods",
		"apiserver_current_inflight_requests":
		_, v := sampleOf(rest)
		c.gauges[name] += v
	case "scheduler_schedule_attempts_total":
		labels, v := sampleOf(rest)
		if labelOf(labels, "result") == "scheduled" {
			c.counters[name] += v
		}
	}
}

// sampleOf splits `{labels} value [timestamp]`.
func sampleOf(s string) (labels string, v float64) {
	if strings.HasPrefix(s, "{") {
		end := strings.LastIndexByte(s, '}')
		if end < 0 {
			return "", 0
		}
		labels, s = s[1:end], s[end+1:]
	}
	f := strings.Fields(s)
	if len(f) == 0 {
		return labels, 0
	}
	v, err := strconv.ParseFloat(f[0], 64)
	if err != nil || math.IsNaN(v) {
		return labels, 0
	}
	return labels, v
}

// labelOf finds a label's value. The few labels wanted never hold quotes.
func labelOf(labels, name string) string {
	for rest := labels; ; {
		i := strings.Index(rest, name+`="`)
		if i < 0 {
			return ""
		}
		after := rest[i+len(name)+2:]
		if i == 0 || rest[i-1] == ',' {
			end := strings.IndexByte(after, '"')
			if end < 0 {
				return ""
			}
			return after[:end]
		}
		rest = after
	}
}

func bound(labels string) float64 {
	v, err := strconv.ParseFloat(labelOf(labels, "le"), 64)
	if err != nil {
		return math.Inf(1)
	}
	return v
}

// plane computes rates against the previous scrape; without one, latencies are those since the server's start.
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

// since is the histogram of what happened between two scrapes; of everything, if nothing happened between them.
func since(now, before map[float64]float64) map[float64]float64 {
	out := map[float64]float64{}
	inf := math.Inf(1)
	if now[inf] <= before[inf] {
		return now
	}
	for le, n := range now {
		out[le] = n - before[le]
	}
	return out
}

// quantile interpolates within a cumulative histogram as PromQL's histogram_quantile does.
func quantile(h map[float64]float64, q float64) float64 {
	total := h[math.Inf(1)]
	if total <= 0 {
		return math.NaN()
	}
	bounds := make([]float64, 0, len(h))
	for le := range h {
		bounds = append(bounds, le)
	}
	slices.Sort(bounds)
	want := q * total
	low, below := 0.0, 0.0
	for _, le := range bounds {
		if h[le] >= want {
			if math.IsInf(le, 1) {
				return low
			}
			if h[le] == below {
				return le
			}
			return low + (le-low)*(want-below)/(h[le]-below)
		}
		low, below = le, h[le]
	}
	return low
}
