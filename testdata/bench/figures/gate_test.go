package figures

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSignTest(t *testing.T) {
	for _, tc := range []struct {
		heads, tails int
		want         float64
	}{{5, 0, 1. / 32}, {12, 3, 576. / 32768}, {11, 4, 1941. / 32768}, {0, 5, 1}, {0, 0, 1}} {
		if got := signTest(tc.heads, tc.tails); math.Abs(got-tc.want) > 1e-12 {
			t.Errorf("%d of %d: %v, want %v", tc.heads, tc.heads+tc.tails, got, tc.want)
		}
	}
}

// measure gives rounds to a gate until it has enough. Each call of next is the ratio of a start without nodes to the committed one;
// the other ratios are as committed.
func measure(t *testing.T, next func() float64) *Gate {
	t.Helper()
	g, uncommitted, err := NewGate(map[string]float64{"up/nodes=0": 0.35, "up/memory/nodes=0": 1.2, "up/ready/nodes=1/driver=embedded": 0.9, "up/ready/nodes=1/driver=docker": 1}, "embedded")
	if err != nil || len(uncommitted) > 0 {
		t.Fatal(err, uncommitted)
	}
	for g.More() {
		if err := g.Add(map[string]float64{"up/nodes=0": 0.35 * next(), "up/memory/nodes=0": 1.2, "up/ready/nodes=1/driver=embedded": 0.9, "version": 7}); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func failed(g *Gate) (keys []string) {
	for _, v := range g.Verdicts() {
		if v.Failed {
			keys = append(keys, v.Key)
		}
	}
	return keys
}

func TestGate(t *testing.T) {
	sequence := func(values ...float64) func() float64 {
		i := -1
		return func() float64 { i++; return values[min(i, len(values)-1)] }
	}
	for _, tc := range []struct {
		name   string
		next   func() float64
		rounds int
		failed bool
		says   string
	}{
		{"as committed", sequence(1), 5, false, "ok   up/nodes=0: 0.350, committed 0.350, limit 0.402, 0 of 5 rounds over it"},
		{"within the limit", sequence(1.14), 5, false, "ok "},
		{"two bad rounds", sequence(3, 3, 1), 5, false, "2 of 5 rounds over it"},
		{"twice as slow", sequence(2), 15, true, "FAIL up/nodes=0: 0.700, committed 0.350, limit 0.402, 15 of 15 rounds over it (p=0.0000)"},
		{"a little over it", sequence(1.16), 15, true, "FAIL"},
		{"bad luck at first", sequence(1.3, 1.3, 1.3, 1.3, 1.3, 1), 15, false, "ok   up/nodes=0: 0.350, committed 0.350, limit 0.402, 5 of 15 rounds over it"},
		{"over it, and maybe chance", sequence(1.3, 1.3, 1.3, 1, 1, 1.2, 1, 1.2, 1, 1.2, 1, 1.2, 1, 1.2, 1.2), 15, false, "9 of 15 rounds over it, which may be chance (p=0.3036)"},
		{"over it, with three good rounds", sequence(1.3, 1, 1.3, 1, 1, 1.3), 5, false, ""},
		{"most rounds over it", sequence(1.3, 1, 1.3, 1, 1.3, 1, 1.3), 15, true, "12 of 15 rounds over it (p=0.0176)"},
		{"faster", sequence(0.8), 5, false, "better by more than 15 %: commit new ratios"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := measure(t, tc.next)
			if got := failed(g); g.Rounds() != tc.rounds || (len(got) == 1 && got[0] == "up/nodes=0") != tc.failed || len(got) > 1 {
				t.Errorf("after %d rounds, failed are %q; want %d rounds, failed %v", g.Rounds(), got, tc.rounds, tc.failed)
			}
			var text strings.Builder
			for _, v := range g.Verdicts() {
				text.WriteString(v.String() + "\n")
			}
			if !strings.Contains(text.String(), tc.says) {
				t.Errorf("the verdicts are\n%swant one with %q", text.String(), tc.says)
			}
		})
	}
}

// TestGateNoise checks how often the gate is wrong when each round is off by a fifth: rarely, and it still sees a loss of half.
func TestGateNoise(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	wrong := func(loss float64) (failures int) {
		for range 1000 {
			if len(failed(measure(t, func() float64 { return loss * math.Exp(0.2*random.NormFloat64()) }))) > 0 {
				failures++
			}
		}
		return failures
	}
	if n := wrong(1); n > 2 {
		t.Errorf("without a loss, the gate failed %d times of 1000", n)
	}
	if n := wrong(1 + loss); n > 25 {
		t.Errorf("at the limit, the gate failed %d times of 1000", n)
	}
	if n := wrong(1.5); n < 900 {
		t.Errorf("with a loss of half, the gate failed only %d times of 1000", n)
	}
}

func TestGateRefuses(t *testing.T) {
	if _, _, err := NewGate(map[string]float64{"version": 1, "up/ready/nodes=1/driver=embedded": 1}, "docker"); err == nil || !strings.Contains(err.Error(), "none of the ratios") {
		t.Errorf("no ratio that is committed: error %v", err)
	}
	g, uncommitted, err := NewGate(map[string]float64{"up/nodes=0": 1, "up/memory/nodes=0": 1}, "docker")
	if !slices.Equal(uncommitted, []string{"up/ready/nodes=1/driver=docker"}) {
		t.Errorf("not committed are %q", uncommitted)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if err := g.Add(map[string]float64{"up/nodes=0": bad, "up/memory/nodes=0": 1}); err == nil {
			t.Errorf("a round with the ratio %v is accepted", bad)
		}
	}
	if len(failed(g)) > 0 || !g.More() {
		t.Error("a gate without rounds does not ask for some")
	}
}

func TestRatios(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ratios")
	with := func(key string, samples, ratios []float64) Row {
		r := row(t, key, samples...)
		r.Ratios = ratios
		return r
	}
	if err := WriteRatios(path, fileOf("m", row(t, "version", 1))); err == nil || !strings.Contains(err.Error(), "no row has a ratio") {
		t.Errorf("a file without ratios: error %v", err)
	}
	embedded := fileOf("m", with("up/nodes=0", []float64{1, 1, 1}, []float64{0.3, 0.4, 0.35}), with("up/ready/nodes=1/driver=embedded", []float64{1}, []float64{0.9}),
		with("up/nodes=2/driver=embedded", []float64{1}, []float64{1.2}))
	if err := WriteRatios(path, embedded); err != nil {
		t.Fatal(err)
	}
	if err := WriteRatios(path, fileOf("m", with("up/ready/nodes=1/driver=docker", []float64{1}, []float64{1.1}))); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRatios(path)
	if err != nil || len(got) != 3 || got["up/nodes=0"] != 0.35 || got["up/ready/nodes=1/driver=embedded"] != 0.9 || got["up/ready/nodes=1/driver=docker"] != 1.1 {
		t.Errorf("%v: the ratios are %v", err, got)
	}
	for text, want := range map[string]string{
		"up/nodes=0":                     "is not a key and a ratio",
		"up/nodes=0 fast":                "is not a key and a ratio",
		"up/nodes=0 0":                   "is not a key and a ratio",
		"# why\nup/nodes=0 1 2":          "ratios:2:",
		"up/nodes=0 1\n\nup/nodes=0 1.1": "ratios:3: up/nodes=0 is there twice",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRatios(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
		if err := WriteRatios(path, embedded); err == nil {
			t.Errorf("%q was written over", text)
		}
	}
}

// TestCommittedRatios checks the file of the tree: what the gate compares on a machine without an engine is there.
func TestCommittedRatios(t *testing.T) {
	committed, err := ReadRatios(filepath.Join("..", "ratios"))
	if err != nil {
		t.Fatal(err)
	}
	if _, uncommitted, err := NewGate(committed, "embedded"); err != nil || len(uncommitted) > 0 {
		t.Errorf("%v: not committed are %q", err, uncommitted)
	}
	for key := range committed {
		if !gated(key) {
			t.Errorf("nothing compares the ratio of %s", key)
		}
	}
}
