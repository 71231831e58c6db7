package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	if err := run(file); err == nil {
		t.Error("a file that does not exist is accepted")
	}
	const text = "before\n<!-- The tour's table, written by make docs. -->\nold\n<!-- End of the tour's table. -->\nafter\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(file); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(got), "before\n") || !strings.HasSuffix(string(got), "\nafter\n") ||
		strings.Contains(string(got), "old") || !strings.Contains(string(got), "| `network-policy` |") {
		t.Errorf("%v: the file is\n%s", err, got)
	}
}
