package figures

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNewRow(t *testing.T) {
	r, err := NewTimes("up/nodes=2/driver=docker", 1500*time.Millisecond, 1234567*time.Microsecond)
	if err != nil {
		t.Fatal(err)
	}
	if r.Label != "`kl up --nodes 2` until it returns" || r.Unit != "s" || !slices.Equal(r.Samples, []float64{1.5, 1.2346}) {
		t.Errorf("the row is %+v", r)
	}
	if r, err = NewTimes("pause/driver=docker", 40*time.Millisecond); err != nil || r.Unit != "ms" || r.Samples[0] != 40 {
		t.Errorf("%v: a row in milliseconds is %+v", err, r)
	}
	if r, err = NewSizes("size", 105_912_345); err != nil || r.Unit != "MB" || r.Samples[0] != 105.91 {
		t.Errorf("%v: a row of sizes is %+v", err, r)
	}
	if r, err = NewRow("balancer/outage/of=node/by=cut_off/driver=docker", 1); err != nil || r.Label != "no answer at its address after its node was cut off" {
		t.Errorf("%v: a label with two parameters is %q", err, r.Label)
	}
	for key, want := range map[string]string{"upp/nodes=1": "nothing that is measured", "up": "lacks a parameter"} {
		if _, err := NewRow(key, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the key %s: error %v, want one with %q", key, err, want)
		}
	}
}

func TestOf(t *testing.T) {
	u, _ := NewTimes("upstream", 4*time.Second, 5*time.Second)
	r, _ := NewTimes("up/nodes=0", 2*time.Second, time.Second)
	got, err := r.Of(u)
	if err != nil || !slices.Equal(got.Ratios, []float64{0.5, 0.2}) {
		t.Errorf("%v: the ratios are %v", err, got.Ratios)
	}
	short, _ := NewTimes("up/nodes=0", time.Second)
	memory, _ := NewSizes("up/memory/nodes=0", 1, 2)
	for _, r := range []Row{short, memory} {
		if _, err := r.Of(u); err == nil || !strings.Contains(err.Error(), "not of the same rounds") {
			t.Errorf("ratios of %v to %v: error %v", r, u, err)
		}
	}
}

func TestCatalogue(t *testing.T) {
	names := map[string]bool{}
	for _, d := range catalogue() {
		if names[d.name] || d.label == "" {
			t.Errorf("%q is there twice, or has no label", d.name)
		}
		names[d.name] = true
	}
	for key := range aims() {
		if name, _ := split(key); !names[name] {
			t.Errorf("there is an aim for %s, which is not measured", key)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var many []float64
	for i := range 200 {
		many = append(many, float64(200-i)) // 1 to 200, the wrong way round
	}
	for _, tc := range []struct {
		values      []float64
		median, p99 float64
	}{
		{[]float64{7}, 7, 7},
		{[]float64{9, 1}, 5, 9},
		{[]float64{9, 1, 2}, 2, 9},
		{many, 100.5, 198},
	} {
		if m, p := median(tc.values), quantile(tc.values, 99); m != tc.median || p != tc.p99 {
			t.Errorf("median and p99 of %d values are %v and %v, want %v and %v", len(tc.values), m, p, tc.median, tc.p99)
		}
	}
	if many[0] != 200 {
		t.Error("the samples were sorted, which are in the order of measurement")
	}
}

func TestFigure(t *testing.T) {
	r := Row{Key: "x", Samples: []float64{3, 1, 2}, Ratios: []float64{0.3, 0.1, 0.2}}
	old := Row{Key: "x", Summary: &Summary{Of: 100, Median: 24, P99: 48}}
	for _, tc := range []struct {
		row   Row
		which string
		want  float64 // NaN: an error
	}{
		{r, "median", 2}, {r, "max", 3}, {r, "p99", 3}, {r, "n", 3}, {r, "ratio", 0.2}, {r, "mean", math.NaN()},
		{old, "median", 24}, {old, "p99", 48}, {old, "n", 100}, {old, "max", math.NaN()}, {old, "ratio", math.NaN()},
	} {
		got, err := tc.row.figure(tc.which)
		if (err != nil) != math.IsNaN(tc.want) || err == nil && got != tc.want {
			t.Errorf("%s of %+v is %v (%v), want %v", tc.which, tc.row, got, err, tc.want)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, tc := range []struct {
		unit string
		v    float64
		want string
	}{
		{Seconds, 3.4, "3.4 s"}, {Seconds, 0.654, "0.65 s"}, {Seconds, 17.34, "17.3 s"}, {Seconds, 178.2, "178 s"}, {Seconds, 11, "11 s"},
		{Seconds, 100, "100 s"}, {Seconds, 0, "0 s"},
		{Milliseconds, 40, "40 ms"}, {Milliseconds, 1700, "1.7 s"}, {Megabytes, 210.4, "210 MB"}, {Megabytes, 1300, "1.3 GB"},
		{Percent, 2, "2.0 % of a core"}, {Throughput, 12.34, "12.3 Gbit/s"}, {"", 1, "1.00"},
	} {
		if got := Format(tc.unit, tc.v); got != tc.want {
			t.Errorf("%v in %q is %q, want %q", tc.v, tc.unit, got, tc.want)
		}
	}
}

func TestTable(t *testing.T) {
	u, _ := NewTimes("upstream", 4*time.Second, 5*time.Second, 4*time.Second)
	up, _ := NewTimes("up/nodes=0", 2*time.Second, time.Second, 2*time.Second)
	up, _ = up.Of(u)
	size, _ := NewSizes("size", 85_000_000)
	first, _ := NewTimes("pod/first/driver=embedded", time.Second)
	got := Table("starts", "here", []Row{u, up, size, first, {Label: "old", Unit: Seconds, Summary: &Summary{Of: 5, Median: 3}}})
	const want = "| starts | here | of U | aim |\n" +
		"| --- | --- | --- | --- |\n" +
		"| U: etcd and kube-apiserver, two processes, to /readyz | 4 s (4–5, n=3) |  |  |\n" +
		"| `kl up --nodes 0` until it returns | 2 s (1–2, n=3) | 0.50 (0.20–0.50, n=3) | ≤ 0.35 U: **missed** |\n" +
		"| size of `bin/kl` | 85 MB |  | ≤ 90 MB: met |\n" +
		"| first pod of a loaded image, from `kl kubectl apply` to Running | 1 s |  | ≤ 0.6 s: **missed** |\n" +
		"| old | 3 s (median of 5) |  |  |\n"
	if got != want {
		t.Errorf("the table is\n%swant\n%s", got, want)
	}
	if got := Table("t", "here", []Row{{Label: "a", Unit: Seconds, Samples: []float64{1}}}); got != "| t | here |\n| --- | --- |\n| a | 1 s |\n" {
		t.Errorf("without ratios and aims, the table is\n%s", got)
	}
}
