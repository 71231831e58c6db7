package boot

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLogKeepsTheLastBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.log")
	log, err := OpenLog(path, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"one\n", "two\n", "three\n", "four\n", "a line longer than the limit\n", "six\n"} {
		if n, err := log.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatalf("write = %d, %v", n, err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	got := [2]string{readFile(t, path), readFile(t, path+".1")}
	if diff := cmp.Diff([2]string{"six\n", "a line longer than the limit\n"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLogIsContinued(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.log")
	for _, line := range []string{"before\n", "after\n", "full\n"} {
		log, err := OpenLog(path, 14)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = log.Write([]byte(line))
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	got := [2]string{readFile(t, path), readFile(t, path+".1")}
	if diff := cmp.Diff([2]string{"full\n", "before\nafter\n"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLogNeverFailsItsWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	log, err := OpenLog(filepath.Join(dir, "node.log"), 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if n, err := log.Write([]byte("lost\n")); n != 5 || err != nil {
			t.Errorf("write = %d, %v", n, err)
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	_, _ = log.Write([]byte("kept\n"))
	if got := readFile(t, filepath.Join(dir, "node.log")); got != "kept\n" {
		t.Errorf("log = %q", got)
	}
}

func TestPipeCopiesUntilTheLastWriterIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.log")
	log, err := OpenLog(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	end, done, err := log.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("a line\n", 50_000) // more than a pipe holds
	if _, err := end.WriteString(want); err != nil {
		t.Fatal(err)
	}
	if err := end.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	if got := readFile(t, path); got != want {
		t.Errorf("log has %d bytes, want %d", len(got), len(want))
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
