package goldentest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write makes files with their directories below dir.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnread(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"TestA.golden": "", "TestA/one.golden": "", "TestA/two.golden": "", "TestA/notes.txt": "", "TestAB/one.golden": ""})
	f := &Files{read: map[string]bool{"TestA.golden": true, filepath.Join("TestA", "one.golden"): true}}
	want := []string{filepath.Join(dir, "TestA", "two.golden")}
	if diff := cmp.Diff(want, f.unread(dir, "TestA")); diff != "" {
		t.Error(diff)
	}
}

func TestOrphans(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a_test.go": "package a\n\nfunc TestA(t *testing.T) {}\n", "a.go": "package a\n\nfunc TestB() {}\n",
		"testdata/TestA/one.golden": "", "testdata/TestB.golden": "", "testdata/TestC/deep/one.golden": ""})
	got, err := orphans(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "testdata", "TestB.golden"), filepath.Join(dir, "testdata", "TestC", "deep", "one.golden")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
