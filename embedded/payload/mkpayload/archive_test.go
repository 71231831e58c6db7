package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klkube/kl/embedded/payload"
)

// smallTree is a payload with every kind of file.
func smallTree(t *testing.T) tree {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, bytes.Repeat([]byte("program"), 1000), 0o700); err != nil {
		t.Fatal(err)
	}
	tr := tree{}
	tr.program("usr/bin/program", program)
	tr.dir(fs.ModeSticky|0o777, "tmp")
	tr.link("bin", "usr/bin")
	tr.text("etc/empty", "")
	return tr
}

func write(t *testing.T, o options, tr tree) (archive []byte, log string) {
	t.Helper()
	var b strings.Builder
	if err := writeArchive(t.Context(), o, tr, &b); err != nil {
		t.Fatal(err)
	}
	archive, err := os.ReadFile(filepath.Join(o.out, payload.ArchiveName))
	if err != nil {
		t.Fatal(err)
	}
	return archive, b.String()
}

func TestWriteArchive(t *testing.T) {
	o := options{arch: "amd64", level: 1, out: t.TempDir(), versions: versions{"kl": "v1"}}
	archive, _ := write(t, o, smallTree(t))
	hash, err := os.ReadFile(filepath.Join(o.out, payload.SHAName))
	if err != nil || string(hash) != sum(archive)+"\n" {
		t.Errorf("%s has %q, %v; want %s", payload.SHAName, hash, err, sum(archive))
	}
	dir := t.TempDir()
	m, err := payload.Unpack(t.Context(), bytes.NewReader(archive), sum(archive), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := payload.Verify(dir); err != nil {
		t.Error(err)
	}
	if m.Versions["kl"] != "v1" || m.Arch != "amd64" || len(m.Files) != 8 {
		t.Errorf("manifest is %+v", m)
	}
}

// Programs come out of the archive as they went in: this test's own, whose code the archive has in another form.
func TestWriteArchiveOfPrograms(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tr := smallTree(t)
	tr.program("usr/bin/test", program)
	archive, _ := write(t, options{level: 3, out: t.TempDir()}, tr)
	dir := t.TempDir()
	m, err := payload.Unpack(t.Context(), bytes.NewReader(archive), sum(archive), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := payload.Verify(dir); err != nil {
		t.Error(err)
	}
	for _, f := range m.Files {
		if changed := runtime.GOARCH == "amd64" && f.Path == "rootfs/usr/bin/test"; (f.Code != nil) != changed {
			t.Errorf("%s has its code at %v", f.Path, f.Code)
		}
	}
}

// The same tree gives the same archive, whatever the names, times and modes of the files it is made from.
func TestWriteArchiveReproducible(t *testing.T) {
	first, _ := write(t, options{level: 3, out: t.TempDir()}, smallTree(t))
	second, _ := write(t, options{level: 3, out: t.TempDir()}, smallTree(t))
	if !bytes.Equal(first, second) {
		t.Error("two archives of the same tree differ")
	}
}

func TestWriteArchiveOnlyIfChanged(t *testing.T) {
	o := options{level: 1, out: t.TempDir()}
	tr := smallTree(t)
	wrote := func(why string, want bool) {
		t.Helper()
		if _, log := write(t, o, tr); strings.Contains(log, "wrote") != want {
			t.Errorf("%s: %q, want written: %v", why, log, want)
		}
	}
	wrote("no archive yet", true)
	wrote("nothing changed", false)
	tr.text("etc/new", "x")
	wrote("a file was added", true)
	o.level = 2
	wrote("level changed", true)
	if err := os.Truncate(filepath.Join(o.out, payload.ArchiveName), 100); err != nil {
		t.Fatal(err)
	}
	wrote("archive damaged", true)
	if err := os.WriteFile(filepath.Join(o.out, payload.SHAName), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	wrote("hash damaged", true)
	wrote("both written again", false)
}

// TestPauseImage follows the image's manifest to its layer, as a container runtime does.
func TestPauseImage(t *testing.T) {
	program := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(program, []byte("ELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	image, err := pauseImage(program, "arm64")
	if err != nil {
		t.Fatal(err)
	}
	files := untar(t, image)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	var config struct {
		Architecture, OS string
		Config           struct{ Env, Entrypoint []string }
		RootFS           struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(files[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	layer := files[manifest[0].Layers[0]]
	if manifest[0].RepoTags[0] != pauseName || config.RootFS.DiffIDs[0] != "sha256:"+sum(layer) {
		t.Errorf("manifest %+v and config %+v do not lead to the layer", manifest, config)
	}
	if got := fmt.Sprintf("%s %s %v", config.Architecture, config.OS, config.Config.Entrypoint); got != "arm64 linux [/pause]" {
		t.Errorf("config is %s", got)
	}
	if len(config.Config.Env) != 1 || !strings.HasPrefix(config.Config.Env[0], "PATH=/") {
		t.Errorf("environment is %v, want a PATH", config.Config.Env)
	}
	if got := untar(t, layer); string(got["pause"]) != "ELF" || len(got) != 1 {
		t.Errorf("layer holds %v", got)
	}
}

func untar(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVersionsFlag(t *testing.T) {
	v := versions{}
	if err := v.Set("kl=v1=x"); err != nil || v["kl"] != "v1=x" {
		t.Errorf("Set: %v, %v", v, err)
	}
	if err := v.Set("kl"); err == nil {
		t.Error("Set without a version succeeded")
	}
}
