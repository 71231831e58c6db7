package observe

import (
	"bufio"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// scrape is the few metrics needed of /metrics, summed over the labels that are not.
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

func newScrape(at time.Time) *scrape {
	return &scrape{at: at, requests: map[string]float64{}, failed: map[string]float64{}, latency: map[string]map[float64]float64{},
		fsync: map[float64]float64{}, sched: map[float64]float64{}, gauges: map[string]float64{}, counters: map[string]float64{}}
}

// read adds the metrics of one /metrics.
func (c *scrape) read(r io.Reader) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 64<<10), 1<<20)
	for sc.Scan() {
		c.line(sc.Text())
	}
	return sc.Err()
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

// labelOf returns the value of a label. The values of the labels needed contain no quotes.
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

// since returns the histogram of what happened between two scrapes, or the whole histogram if nothing did.
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

// quantile returns a quantile of a cumulative histogram, interpolated as by PromQL's histogram_quantile.
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
