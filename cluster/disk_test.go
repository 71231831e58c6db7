package cluster_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
)

func TestDiskFreeOfADirectoryThatIsMissing(t *testing.T) {
	dir := t.TempDir()
	want, err := cluster.DiskFree(dir)
	got, err2 := cluster.DiskFree(filepath.Join(dir, "a/b/c"))
	if err != nil || err2 != nil || want <= 0 || got <= 0 {
		t.Errorf("%d (%v) free, and %d (%v) for a directory that is missing", want, err, got, err2)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if free, err := cluster.DiskFree(filepath.Join(file, "x")); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%d bytes (%v) free below a file, want an error that names the file", free, err)
	}
}

func TestTrimLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := cluster.TrimLog(path); err != nil {
		t.Error("no log:", err)
	}
	writer, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	line := []byte(strings.Repeat("x", 1023) + "\n")
	sizes := []int64{}
	for range 3 {
		for range 8 << 10 {
			if _, err := writer.Write(line); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := writer.WriteString("last\n"); err != nil {
			t.Fatal(err)
		}
		if err := cluster.TrimLog(path); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil || !bytes.HasSuffix(data, []byte("x\nlast\n")) || bytes.ContainsRune(data, 0) {
			t.Errorf("the log ends in %q (%v)", data[max(0, len(data)-10):], err)
		}
		sizes = append(sizes, int64(len(data)))
	}
	if sizes[0] != 1<<20 || sizes[2] != 1<<20 {
		t.Errorf("sizes after a cut: %d, want 1 MB", sizes)
	}
	if err := cluster.TrimLog(path); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != sizes[2] {
		t.Errorf("a short log was cut to %v (%v)", info, err)
	}
}
