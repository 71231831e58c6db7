//go:build !payload

package payload

import (
	"errors"
	"io"
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
	if !errors.As(err, &e) || !errors.Is(err, os.ErrNotExist) || !strings.Contains(e.Hint, "make payload") {
		t.Errorf("fileSource of nothing: %v, want a hint to make payload", err)
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
		t.Errorf("sha without a valid hash file is %q, %v; want %q", src.sha, err, want)
	}
	given := strings.Repeat("5", 64)
	if err := os.WriteFile(filepath.Join(dir, SHAName), []byte(given+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if src, err := fileSource(dir); err != nil || src.sha != given {
		t.Errorf("sha is %q, %v; want the content of the hash file", src.sha, err)
	}
}

// A kl without a payload of its own runs the engine that was built beside it, but no other file of that name.
func TestEngineBesideTheProgram(t *testing.T) {
	dir := t.TempDir()
	archive := pack(t, good())
	r, err := archive.open()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ArchiveName), content, 0o644); err != nil {
		t.Fatal(err)
	}
	s := Store{Home: cluster.Home(t.TempDir())}
	engine := filepath.Join(dir, "kl-engine")
	ensured := func() string {
		t.Helper()
		src, err := fileSource(dir)
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.ensure(t.Context(), src)
		if err != nil {
			t.Fatal(err)
		}
		return p.Engine
	}
	packed := filepath.Join(s.Home.PayloadDir(archive.sha), "rootfs/usr/local/bin/kl-engine")
	if got := ensured(); got != packed {
		t.Errorf("without a kl-engine beside the program, the engine is %s, want %s", got, packed)
	}
	if err := os.WriteFile(engine, []byte("#!/bin/true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := ensured(); got != packed {
		t.Errorf("with a file that is not executable, the engine is %s, want %s", got, packed)
	}
	if err := os.Chmod(engine, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := ensured(); got != engine {
		t.Errorf("the engine is %s, want %s", got, engine)
	}
}
