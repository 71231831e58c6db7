package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klkube/kl/testdata/bench/figures"
)

// tree makes a source tree with the committed figures and a README for them.
func tree(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	dir := filepath.Join(root, "testdata", "bench")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("figures.json")
	if err != nil {
		t.Fatal(err)
	}
	readme := "before\n<!-- The figures, written by make docs from testdata/bench/figures.json. -->\nold\n<!-- End of the figures. -->\nafter\n"
	for name, text := range map[string]string{filepath.Join(dir, "figures.json"): string(data), filepath.Join(root, "README.md"): readme} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// measured writes a file as the benchmarks do, with a start without nodes that takes that many seconds each time.
func measured(t *testing.T, seconds float64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "new.json")
	var samples, ratios []float64
	for i := range 5 {
		samples = append(samples, seconds+float64(i)/1000)
		ratios = append(ratios, (seconds+float64(i)/1000)/4)
	}
	r, err := figures.NewRow("up/nodes=0", samples...)
	if err != nil {
		t.Fatal(err)
	}
	r.Ratios = ratios
	run := figures.Run{ID: "test", Date: "2099-01-01", KL: "v9", Kubernetes: "v1.99.0", Machine: "a machine", Drivers: map[string]string{"embedded": ""}}
	if err := figures.Add(path, run, r); err != nil {
		t.Fatal(err)
	}
	return path
}

func do(t *testing.T, root string, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	err := run(&out, root, args)
	return out.String(), err
}

func text(t *testing.T, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

func TestAdopt(t *testing.T) {
	root, file := tree(t), measured(t, 1.234)
	if _, err := do(t, root, "readme"); err != nil {
		t.Fatal(err)
	}
	readme := text(t, root, "README.md")
	if strings.Contains(readme, "old\n") || !strings.Contains(readme, "| `kl version`") || strings.Contains(readme, "v1.99.0") {
		t.Errorf("README is\n%s", readme)
	}
	out, err := do(t, root, "adopt", file)
	if err != nil || !strings.HasPrefix(out, "1 figures taken over into ") {
		t.Errorf("%v: adopt prints %q", err, out)
	}
	readme = text(t, root, "README.md")
	if !strings.Contains(readme, "API, controllers and scheduler alone | 1.24 s |") || !strings.Contains(readme, "Kubernetes v1.99.0, on a machine") {
		t.Errorf("after adopting, README is\n%s", readme)
	}
	if _, err := do(t, root, "ratios", file); err != nil || !strings.HasSuffix(text(t, root, "testdata", "bench", "ratios"), "\nup/nodes=0 0.309\n") {
		t.Errorf("%v: the ratios are\n%s", err, text(t, root, "testdata", "bench", "ratios"))
	}
	if err := os.WriteFile(filepath.Join(root, "README.md"), []byte("no place\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := text(t, root, "testdata", "bench", "figures.json")
	if _, err := do(t, root, "adopt", measured(t, 2)); err == nil || text(t, root, "testdata", "bench", "figures.json") != before {
		t.Errorf("error %v; figures that README cannot show were taken over", err)
	}
}

func TestCompare(t *testing.T) {
	older, newer := measured(t, 1), measured(t, 1.5)
	out, err := do(t, ".", "compare", older, newer)
	if !errors.Is(err, errWorse) || !strings.Contains(out, "WORSE  Up/nodes=0  1 s → 1.5 s        +49.9 %  p=0.008 n=5+5") {
		t.Errorf("slower: error %v and\n%s", err, out)
	}
	out, err = do(t, ".", "compare", newer, older)
	if err != nil || !strings.Contains(out, "better  Up/nodes=0") {
		t.Errorf("faster: error %v and\n%s", err, out)
	}
	out, err = do(t, ".", "compare", older, older)
	if err != nil || strings.Contains(out, "better") || !strings.Contains(out, "2 without a change") {
		t.Errorf("the same: error %v and\n%s", err, out)
	}
}

func TestShow(t *testing.T) {
	out, err := do(t, ".", "show", measured(t, 1))
	if err != nil || !strings.Contains(out, "| measured | 2099-01-01, kl v9, Kubernetes v1.99.0, a machine | of U | aim |") ||
		!strings.Contains(out, "| `kl up --nodes 0` until it returns | 1 s (1–1, n=5) | 0.25 (0.25–0.25, n=5) | ≤ 0.35 U: met |") {
		t.Errorf("error %v and\n%s", err, out)
	}
	out, err = do(t, ".", "gobench", measured(t, 1))
	if err != nil || !strings.Contains(out, "\nBenchmarkUp/nodes=0 1 1.004 sec 0.251 of-U\n") {
		t.Errorf("error %v and\n%s", err, out)
	}
}

func TestBadArguments(t *testing.T) {
	damaged := filepath.Join(t.TempDir(), "half.json")
	if err := os.WriteFile(damaged, []byte(`{"format": 1,`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "usage:"}, {[]string{"show"}, "usage:"}, {[]string{"compare", measured(t, 1)}, "usage:"}, {[]string{"compare", "", ""}, "usage:"},
		{[]string{"fly", measured(t, 1)}, "usage:"}, {[]string{"show", "no.json"}, "there is no file no.json"}, {[]string{"adopt", damaged}, "ends in the middle"},
	} {
		if _, err := do(t, tree(t), tc.args...); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: error %v, want one line with %q", tc.args, err, tc.want)
		}
	}
}
