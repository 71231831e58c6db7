package figures

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func committed(t *testing.T) *File {
	t.Helper()
	f, err := Read(filepath.Join("..", "figures.json"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestReadme checks that README shows the committed figures.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := Document(string(text), committed(t))
	if err != nil {
		t.Fatal(err)
	}
	if want != string(text) {
		t.Error("README.md does not show the figures of testdata/bench/figures.json: run `make generate`")
	}
}

// TestCommittedFigures checks that the catalogue describes the committed rows as they are.
func TestCommittedFigures(t *testing.T) {
	for _, r := range committed(t).Rows {
		if d, err := define(r.Key); err != nil || d.label != r.Label || d.unit != r.Unit {
			t.Errorf("%s is %q in %q (%v)", r.Key, r.Label, r.Unit, err)
		}
	}
}

// TestHoles checks that every key in README's table is measured: one that is misspelt would leave its line out for ever.
func TestHoles(t *testing.T) {
	for _, l := range readme() {
		for _, m := range hole.FindAllStringSubmatch(l.label+l.value, -1) {
			if _, err := define(m[1]); err != nil {
				t.Errorf("line %q: %v", l.label, err)
			}
			if which := m[2]; which != "" && !strings.Contains(" n max p99 ratio ", " "+which+" ") {
				t.Errorf("line %q: there is no figure %s", l.label, which)
			}
		}
	}
}

const markers = "before\n" + tableBegins + "old\n" + tableEnds + "after\n"

// filled is a file with a figure for every line of README that is not optional: 1, 2, 3, … in the order of the table.
func filled(t *testing.T) *File {
	t.Helper()
	f := &File{Format: 1, Runs: []Run{
		{ID: "long ago", Date: "2026-01-01", Note: "of a machine that is gone"},
		{ID: "main", Date: "2026-12-01", KL: "v0.2.0", Kubernetes: "v1.37.2", Machine: "2 cores of a CPU, 24 GiB, Linux 6.18",
			Drivers: map[string]string{"embedded": "", "docker": "Docker 20.10"}},
		{ID: "short", Date: "2026-12-01", Note: "of the same day"},
	}}
	for _, l := range readme() {
		for _, m := range hole.FindAllStringSubmatch(l.label+l.value, -1) {
			if _, known := f.row(m[1]); known || l.optional {
				continue
			}
			r := row(t, m[1], float64(len(f.Rows)+1))
			r.Run = "main"
			f.Rows = append(f.Rows, r)
		}
	}
	return f
}

// change changes a row of a file.
func change(t *testing.T, f *File, key string, to func(*Row)) {
	t.Helper()
	for i := range f.Rows {
		if f.Rows[i].Key == key {
			to(&f.Rows[i])
			return
		}
	}
	t.Fatalf("there is no row %s", key)
}

func TestDocument(t *testing.T) {
	f := filled(t)
	change(t, f, "up/nodes=1/driver=embedded", func(r *Row) { r.Run, r.Ratios = "short", []float64{0.8} })
	change(t, f, "up/nodes=0", func(r *Row) { r.Samples, r.Ratios = []float64{1.5, 1.3, 1.4}, []float64{0.34, 0.33, 0.32} })
	change(t, f, "version", func(r *Row) { r.Samples, r.Run, r.Summary = nil, "long ago", &Summary{Of: 5, Median: 20} })
	change(t, f, "ui/frame/meanwhile=nothing", func(r *Row) { r.Samples = []float64{18, 36, 17} })
	change(t, f, "ui/frame/meanwhile=500_pods_are_replaced", func(r *Row) { r.Samples, r.Summary = nil, &Summary{Of: 400, Max: 61} })
	change(t, f, "ui/memory", func(r *Row) { r.Samples = []float64{70} })
	ready := row(t, "up/ready/nodes=1/driver=embedded", 2.5)
	ready.Run, ready.Ratios = "main", []float64{0.6}
	f.Rows = append(f.Rows, ready)
	got, err := Document(markers, f)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got, "before\n"+tableBegins+"\nMedians of one run on 2026-12-01 with kl v0.2.0 and Kubernetes v1.37.2, on 2 cores of a CPU") ||
		!strings.HasSuffix(got, "\n\n"+tableEnds+"after\n") || strings.Contains(got, "old\n") || strings.ContainsAny(got, "{}") {
		t.Errorf("the document is\n%s", got)
	}
	for _, want := range []string{
		"24 GiB, Linux 6.18, Docker 20.10. The payload was",
		"Those marked \\* are of a machine that is gone; those marked † are of the same day. |",
		"| `kl up --nodes 0`: API, controllers and scheduler alone | 1.4 s |",
		"| `kl up` to ready, 1 node, Docker / without an engine † | 1 s / 2 s |", // one of the two is of another run
		"(no engine) † | 0.33 / 0.60 / 0.80 |",                                   // an optional line that has its rows now
		"median / worst of 3, worst of 400 while 500 pods are replaced; memory | 18 ms / 36 ms, 61 ms; 70 MB |",
		"| `kl version` \\* | 20 ms |",
	} {
		if !strings.Contains(strings.Join(strings.Fields(got), " "), want) {
			t.Errorf("the document lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "first pod of a loaded image") {
		t.Error("there is a line for what was not measured yet")
	}
	for line := range strings.Lines(got) {
		if !strings.HasPrefix(line, "|") && utf8.RuneCountInString(line) > columns+1 {
			t.Errorf("the line is longer than %d: %s", columns, line)
		}
	}
	if again, err := Document(got, f); err != nil || again != got {
		t.Errorf("%v: written twice, the document is\n%s", err, again)
	}
}

func TestDocumentRefuses(t *testing.T) {
	if _, err := Document("no place\n", filled(t)); err == nil || !strings.Contains(err.Error(), "no place for the figures") {
		t.Errorf("a document without a place: error %v", err)
	}
	f := filled(t)
	f.Rows = f.Rows[1:]
	if _, err := Document(markers, f); err == nil || !strings.Contains(err.Error(), "README shows up/nodes=1/driver=docker, which is not in the file") {
		t.Errorf("a figure that README shows and the file lacks: error %v", err)
	}
	f = filled(t)
	change(t, f, "ui/frame/meanwhile=nothing", func(r *Row) { r.Samples, r.Summary = nil, &Summary{Of: 9, Median: 18} })
	if _, err := Document(markers, f); err == nil || !strings.Contains(err.Error(), "the max of ui/frame/meanwhile=nothing was not kept") {
		t.Errorf("a figure that was not kept: error %v", err)
	}
	f = filled(t)
	for i := range 5 {
		f.Runs = append(f.Runs, Run{ID: strings.Repeat("x", i+1)})
	}
	if _, err := Document(markers, f); err == nil || !strings.Contains(err.Error(), "figures are of 8 runs") {
		t.Errorf("more runs than marks: error %v", err)
	}
}
