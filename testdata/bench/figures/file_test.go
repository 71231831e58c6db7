package figures

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testRun() Run {
	return Run{ID: "1", Date: "2026-11-30", KL: "v1", Kubernetes: "v1.37.2", Commit: "c", Binary: "b", Machine: "m", Drivers: map[string]string{"docker": "Docker 20.10"}}
}

func row(t *testing.T, key string, samples ...float64) Row {
	t.Helper()
	r, err := NewRow(key, samples...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAdd checks that a file keeps all samples of two runs with different drivers, and that what is read is what was written.
func TestAdd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new.json")
	other := testRun()
	other.ID, other.Date, other.Drivers = "2", "2026-12-01", map[string]string{"embedded": ""}
	up := row(t, "up/nodes=0", 1.6, 1.7)
	up.Ratios = []float64{0.3, 0.4}
	again := row(t, "up/nodes=0", 1.5)
	again.Ratios = []float64{0.5}
	for _, add := range []func() error{
		func() error { return Add(path, testRun(), row(t, "version", 20)) },
		func() error { return Add(path, testRun(), up) },
		func() error { return Add(path, other, again, row(t, "start/driver=embedded", 3)) },
	} {
		if err := add(); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	run := testRun()
	run.Drivers["embedded"] = ""
	want := &File{Format: 1, Runs: []Run{run}, Rows: []Row{
		{Key: "version", Label: "`kl version`", Unit: "ms", Samples: []float64{20}, Run: "1"},
		{Key: "up/nodes=0", Label: "`kl up --nodes 0` until it returns", Unit: "s", Samples: []float64{1.6, 1.7, 1.5}, Ratios: []float64{0.3, 0.4, 0.5}, Run: "1"},
		{Key: "start/driver=embedded", Label: "`kl start` until it returns", Unit: "s", Samples: []float64{3}, Run: "1"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the file differs (-want +got):\n%s", diff)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), "\n"); n != 4+1+2+3+1 {
		t.Errorf("the file has %d lines, want one a row:\n%s", n, data)
	}

	for name, change := range map[string]func(*Run){
		"another build of kl, v1 of commit c": func(r *Run) { r.Binary = "c" },
		"another machine, m":                  func(r *Run) { r.Machine = "n" },
	} {
		run := testRun()
		change(&run)
		if err := Add(path, run, row(t, "version", 1)); err == nil || !strings.Contains(err.Error(), "of "+name+": choose another file") {
			t.Errorf("adding figures of %s: error %v", name, err)
		}
	}
	if err := Add(path, testRun(), row(t, "up/nodes=0", 1)); err == nil || !strings.Contains(err.Error(), "ratios to U in one") {
		t.Errorf("adding samples without ratios to some with them: error %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(data) {
		t.Errorf("%v: what was refused has changed the file to\n%s", err, after)
	}
}

// TestAddToDamaged checks that a file that cannot be read is refused and not replaced.
func TestAddToDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new.json")
	if err := os.WriteFile(path, []byte(`{"format": 1, "ro`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Add(path, testRun(), row(t, "version", 1)); err == nil {
		t.Error("figures were added to half a file")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != `{"format": 1, "ro` {
		t.Errorf("%v: the file was changed to %q", err, data)
	}
}

func TestReadRefuses(t *testing.T) {
	const runs = `"runs": [{"id": "1"}]`
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "is empty"},
		{"half", `{"format": 1, "rows": [{"key": "up`, "ends in the middle"},
		{"no JSON", "| a | table |", "is not JSON"},
		{"another type", `{"format": 1, "rows": {}}`, "rows is of the wrong type"},
		{"other JSON", `{"kind": "Pod"}`, "has format 0, and this tree reads format 1"},
		{"later", `{"format": 2}`, "has format 2, and this tree reads format 1: measure again"},
		{"no samples", `{"format": 1, ` + runs + `, "rows": [{"key": "a", "run": "1"}]}`, "row a has no samples"},
		{"both", `{"format": 1, ` + runs + `, "rows": [{"key": "a", "run": "1", "samples": [1], "summary": {"of": 1, "median": 1}}]}`, "samples and a summary"},
		{"no key", `{"format": 1, ` + runs + `, "rows": [{"samples": [1], "run": "1"}]}`, "is no key"},
		{"negative", `{"format": 1, ` + runs + `, "rows": [{"key": "a", "samples": [-1], "run": "1"}]}`, "no measurements"},
		{"ratios", `{"format": 1, ` + runs + `, "rows": [{"key": "a", "samples": [1], "ratios": [1, 2], "run": "1"}]}`, "1 samples and 2 ratios"},
		{"twice", `{"format": 1, ` + runs + `, "rows": [{"key": "a", "samples": [1], "run": "1"}, {"key": "a", "samples": [1], "run": "1"}]}`, "row a is there twice"},
		{"no run", `{"format": 1, ` + runs + `, "rows": [{"key": "a", "samples": [1], "run": "2"}]}`, `of the run "2", which is not there`},
		{"two runs", `{"format": 1, "runs": [{"id": "1"}, {"id": "1"}]}`, "or that of two"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.json")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Read(path)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want a line with %q and the file's name", err, tc.want)
			}
		})
	}
	missing := filepath.Join(t.TempDir(), "no.json")
	if _, err := Read(missing); err == nil || !strings.Contains(err.Error(), "make bench JSON="+missing) {
		t.Errorf("a file that is not there: error %v", err)
	}
}

func TestAdopt(t *testing.T) {
	old := &File{Format: 1, Runs: []Run{{ID: "1", Date: "2026-11-01"}, {ID: "2"}}, Rows: []Row{
		{Key: "version", Summary: &Summary{Of: 5, Median: 20}, Run: "1"},
		{Key: "size", Samples: []float64{106}, Run: "2"},
	}}
	measured := &File{Format: 1, Runs: []Run{{ID: "3", Binary: "b", Machine: "m"}}, Rows: []Row{
		{Key: "upstream", Samples: []float64{5}, Run: "3"},
		{Key: "version", Samples: []float64{19}, Run: "3"},
	}}
	if err := old.Adopt(measured); err != nil {
		t.Fatal(err)
	}
	want := &File{Format: 1, Runs: []Run{{ID: "2"}, {ID: "3", Binary: "b", Machine: "m"}}, Rows: []Row{
		{Key: "version", Samples: []float64{19}, Run: "3"},
		{Key: "size", Samples: []float64{106}, Run: "2"},
		{Key: "upstream", Samples: []float64{5}, Run: "3"},
	}}
	if diff := cmp.Diff(want, old); diff != "" {
		t.Errorf("adopted (-want +got):\n%s", diff)
	}
	measured.Runs[0].Machine = "another"
	if err := old.Adopt(measured); err == nil || !strings.Contains(err.Error(), "two runs have the ID 3") {
		t.Errorf("two runs with one ID: error %v", err)
	}
	if err := old.Write(filepath.Join(t.TempDir(), "f.json")); err != nil {
		t.Error(err)
	}
}

func ExampleAdd() {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("figures-%d.json", os.Getpid()))
	defer os.Remove(path)
	row, err := NewRow("up/nodes=0", 1.62, 1.58, 1.71)
	if err != nil {
		fmt.Println(err)
	}
	row.Ratios = []float64{0.36, 0.34, 0.37}
	if err := Add(path, Run{ID: "today", KL: "v1"}, row); err != nil {
		fmt.Println(err)
	}
	f, err := Read(path)
	if err != nil {
		fmt.Println(err)
	}
	fmt.Print(Table("starts", "this machine", f.Rows))
	// Output:
	// | starts | this machine | of U | aim |
	// | --- | --- | --- | --- |
	// | `kl up --nodes 0` until it returns | 1.62 s (1.58–1.71, n=3) | 0.36 (0.34–0.37, n=3) | ≤ 0.35 U: **missed** |
}
