//go:build !payload

package payload

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
)

func TestFileSource(t *testing.T) {
	dir := t.TempDir()
	_, err := fileSource(dir)
	var e *cluster.Error
	if !errors.As(err, &e) || !errors.Is(err, os.ErrNotExist) || !strings.Contains(e.Hint, "make build") {
		t.Errorf("fileSource of nothing: %v, want a hint to make build", err)
	}
	archive := filepath.Join(dir, ArchiveName)
	if err := os.WriteFile(archive, []byte("archive"), 0o644); err != nil {
		t.Fatal(err)
	}
	const sum = "1a1fa1b94feda9d8e2a1ca6b1b0b7d3e" // not a hash: too short
	if err := os.WriteFile(filepath.Join(dir, SHAName), []byte(sum), 0o644); err != nil {
		t.Fatal(err)
	}
	want, err := hashFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	if src, err := fileSource(dir); err != nil || src.sha != want {
		t.Errorf("sha without a file that tells it is %q, %v; want %q", src.sha, err, want)
	}
	told := strings.Repeat("5", 64)
	if err := os.WriteFile(filepath.Join(dir, SHAName), []byte(told+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if src, err := fileSource(dir); err != nil || src.sha != told {
		t.Errorf("sha is %q, %v; want what the file tells", src.sha, err)
	}
}
