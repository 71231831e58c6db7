package figures

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/klkube/kl/cluster/statefile"
)

// What the gate lets pass, and how long it measures.
const (
	loss        = 0.15 // of a ratio, over the committed one
	FirstRounds = 5    // after which the gate ends, if all is well
	MostRounds  = 15
	chance      = 0.05 // below this probability something is not called chance
)

// Gate decides by ratios of the same rounds, such as of a start to U, whether kl got slower or larger than the ratios that
// are committed. It looks twice. After FirstRounds all is well if no median is over its limit, which is the committed ratio and
// 15 %. Otherwise the rounds go on to MostRounds, and all of them count. A ratio fails then if its median is over the limit, and so
// many of its rounds are that a fair coin would show as many heads with less than 5 % probability (a sign test, to which an outlier
// counts as little as any other). At the limit itself that is in 2 of 100 runs, and below it less often.
type Gate struct {
	committed map[string]float64
	ratios    map[string][]float64
}

// Gated are the keys of the ratios that the gate looks at where nodes are made by that driver. The time until DNS answers is none of them:
// upstream waits for whole seconds in it, which no machine shortens, so that its ratio says more about the machine than about kl.
func Gated(driver string) []string {
	return []string{"up/nodes=0", "up/memory/nodes=0", "up/ready/nodes=1/driver=" + driver}
}

// gated reports whether the gate looks at a ratio, with one driver or another.
func gated(key string) bool {
	_, driver, _ := strings.Cut(key, "/driver=")
	return slices.Contains(Gated(driver), key)
}

// NewGate makes a gate for the ratios that are measured with a driver. What of them is not committed it does not look at.
func NewGate(committed map[string]float64, driver string) (g *Gate, uncommitted []string, err error) {
	g = &Gate{committed: map[string]float64{}, ratios: map[string][]float64{}}
	for _, k := range Gated(driver) {
		if v, ok := committed[k]; ok {
			g.committed[k] = v
		} else {
			uncommitted = append(uncommitted, k)
		}
	}
	if len(g.committed) == 0 {
		return nil, nil, fmt.Errorf("none of the ratios of driver %s is committed: see CONTRIBUTING.md, The benchmarks", driver)
	}
	return g, uncommitted, nil
}

// Add adds a round: a ratio for each key.
func (g *Gate) Add(round map[string]float64) error {
	for k := range g.committed {
		v, ok := round[k]
		if !ok || !(v > 0) || math.IsInf(v, 0) {
			return fmt.Errorf("the round has no ratio of %s", k)
		}
		g.ratios[k] = append(g.ratios[k], v)
	}
	return nil
}

// Rounds is how many rounds have been added.
func (g *Gate) Rounds() int {
	for _, r := range g.ratios {
		return len(r)
	}
	return 0
}

// More reports whether another round is needed.
func (g *Gate) More() bool {
	switch n := g.Rounds(); {
	case n < FirstRounds:
		return true
	case n >= MostRounds:
		return false
	}
	for k, limit := range g.committed { // of the rounds that the first look has seen, so that there is no third one
		if median(g.ratios[k][:FirstRounds]) > limit*(1+loss) {
			return true
		}
	}
	return false
}

// Verdict is what a gate says of one ratio.
type Verdict struct {
	Key       string
	Committed float64
	Limit     float64
	Median    float64
	Over      int // of N rounds were over the limit
	N         int
	P         float64 // that so many would be, if over and under were as likely
	Failed    bool
}

func (v Verdict) String() string {
	text := fmt.Sprintf("%s: %.3f, committed %.3f, limit %.3f, %d of %d rounds over it", v.Key, v.Median, v.Committed, v.Limit, v.Over, v.N)
	switch {
	case v.Failed:
		return "FAIL " + text + fmt.Sprintf(" (p=%.4f)", v.P)
	case v.Median > v.Limit:
		return "ok   " + text + fmt.Sprintf(", which may be chance (p=%.4f)", v.P)
	case v.Median < v.Committed*(1-loss):
		return "ok   " + text + ": better by more than 15 %: commit new ratios"
	}
	return "ok   " + text
}

// Verdicts says what became of each ratio, in the order of their keys. It is final when More returns false.
func (g *Gate) Verdicts() []Verdict {
	var all []Verdict
	for _, k := range slices.Sorted(maps.Keys(g.committed)) {
		v := Verdict{Key: k, Committed: g.committed[k], Limit: g.committed[k] * (1 + loss), N: len(g.ratios[k])}
		if v.N == 0 {
			continue
		}
		v.Median = median(g.ratios[k])
		under := 0
		for _, r := range g.ratios[k] {
			switch {
			case r > v.Limit:
				v.Over++
			case r < v.Limit:
				under++
			}
		}
		v.P = signTest(v.Over, under)
		v.Failed = v.Median > v.Limit && v.P < chance && v.N >= MostRounds
		all = append(all, v)
	}
	return all
}

// signTest is the probability of at least so many heads of a fair coin.
func signTest(heads, tails int) float64 {
	n, p := heads+tails, 0.0
	for k := heads; k <= n; k++ {
		c := 1.0
		for i := range k {
			c = c * float64(n-i) / float64(i+1)
		}
		p += c * math.Pow(0.5, float64(n))
	}
	return min(p, 1)
}

// ratiosHead is the comment at the beginning of a file of committed ratios.
const ratiosHead = `# Ratios of kl to upstream's etcd and kube-apiserver, as two processes, in the same rounds: seconds to seconds, and anonymous
# memory to anonymous memory. make bench-short fails on what is 15 % larger. Measure on a quiet machine, then write them again:
#
#	make bench-short JSON=quiet.json
#	go run ./testdata/bench ratios quiet.json
`

// ReadRatios reads a file of committed ratios: a key and a number a line.
func ReadRatios(path string) (map[string]float64, error) {
	data, err := statefile.Read(path)
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		words := strings.Fields(text)
		v, err := strconv.ParseFloat(words[len(words)-1], 64)
		if len(words) != 2 || err != nil || !(v > 0) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%s:%d: %q is not a key and a ratio", path, n, text)
		}
		if all[words[0]] != 0 {
			return nil, fmt.Errorf("%s:%d: %s is there twice", path, n, words[0])
		}
		all[words[0]] = v
	}
	return all, lines.Err()
}

// WriteRatios writes the medians of the ratios in f to the file at path. What f has no ratio of stays.
func WriteRatios(path string, f *File) error {
	all, err := ReadRatios(path)
	if err != nil && !missing(path) {
		return err
	}
	found := false
	for _, r := range f.Rows {
		if len(r.Ratios) == 0 || !gated(r.Key) {
			continue
		}
		if all == nil {
			all = map[string]float64{}
		}
		all[r.Key], found = median(r.Ratios), true
	}
	if !found {
		return fmt.Errorf("no row has a ratio that belongs into %s: measure with `make bench-short JSON=FILE`", path)
	}
	var b strings.Builder
	b.WriteString(ratiosHead)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "%s %.3f\n", k, all[k])
	}
	return statefile.Write(path, []byte(b.String()), 0o644)
}
