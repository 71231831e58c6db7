package convert_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster/convert"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const inputs = "../../testdata/convert"

// manifests returns the inputs, one a kind and a version, by name.
func manifests(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, pattern := range []string{"*.yaml", "*.json"} {
		files, err := filepath.Glob(filepath.Join(inputs, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all[filepath.Base(f)] = data
		}
	}
	if len(all) < 50 {
		t.Fatalf("found %d inputs only", len(all))
	}
	return all
}

// TestConvert compares results and notes with golden files; -update writes them.
func TestConvert(t *testing.T) {
	read := map[string]bool{}
	for name, data := range manifests(t) {
		t.Run(name, func(t *testing.T) {
			r, err := convert.Convert(data)
			if err != nil {
				t.Fatal(err)
			}
			checkGolden(t, name+".golden", r.Data)
			checkGolden(t, name+".notes.golden", notes(r))
		})
		read[name+".golden"], read[name+".notes.golden"] = true, true
	}
	goldens, err := filepath.Glob(filepath.Join(inputs, "*.golden"))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range goldens {
		if !read[filepath.Base(g)] {
			t.Errorf("%s belongs to no input: delete it", g)
		}
	}
}

func notes(r convert.Result) []byte {
	var b bytes.Buffer
	for _, n := range r.Notes {
		by := "changed"
		if n.Left {
			by = "LEFT"
		}
		fmt.Fprintf(&b, "%d %s: %s: %s\n", n.Line, by, n.Object, n.Text)
	}
	fmt.Fprintf(&b, "%d objects, %d changed, %d left\n", r.Objects, r.Changed, r.Left)
	return b.Bytes()
}

func checkGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join(inputs, name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// TestTwice checks that a result is current: converting it changes no byte.
func TestTwice(t *testing.T) {
	for name, data := range manifests(t) {
		once, err := convert.Convert(data)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := convert.Convert(once.Data)
		if err == convert.ErrNoManifest { //nolint:errorlint // all of it has become a comment
			continue
		}
		if err != nil || !bytes.Equal(twice.Data, once.Data) || twice.Changed > 0 {
			t.Errorf("%s: %v, and converting it again changes\n%s\n%s", name, err, cmp.Diff(string(once.Data), string(twice.Data)), notes(twice))
		}
	}
}

// TestComments checks that no comment of an input is lost.
func TestComments(t *testing.T) {
	for name, data := range manifests(t) {
		if strings.HasSuffix(name, ".json") {
			continue
		}
		r, err := convert.Convert(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(data), "\n") {
			i := strings.Index(" "+line, " #")
			if i < 0 {
				continue
			}
			if comment := strings.TrimSpace(line[i:]); !strings.Contains(string(r.Data), comment) {
				t.Errorf("%s: the comment %q is lost", name, comment)
			}
		}
	}
}
