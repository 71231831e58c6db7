package tour_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/klkube/kl/cluster/tour"
)

func entries(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if all[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWriteImage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "engine")
	if err := os.WriteFile(path, bytes.Repeat([]byte("engine"), 999), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var archive, again bytes.Buffer
	if err := tour.WriteImage(&archive, f); err != nil {
		t.Fatal(err)
	}
	if err := tour.WriteImage(&again, f); err != nil || !bytes.Equal(archive.Bytes(), again.Bytes()) {
		t.Errorf("written again it is different: %v", err)
	}
	files := entries(t, archive.Bytes())
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) != 1 || len(manifest[0].Layers) != 1 {
		t.Fatalf("manifest.json is %s: %v", files["manifest.json"], err)
	}
	m := manifest[0]
	if len(m.RepoTags) != 1 || m.RepoTags[0] != tour.Image {
		t.Errorf("tags are %q", m.RepoTags)
	}
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	layer := files[m.Layers[0]]
	sum := sha256.Sum256(layer)
	if err := json.Unmarshal(files[m.Config], &config); err != nil || len(config.RootFS.DiffIDs) != 1 || config.RootFS.DiffIDs[0] != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Errorf("configuration is %s: %v", files[m.Config], err)
	}
	if program := entries(t, layer)["usr/local/bin/kl-engine"]; len(program) != 6*999 {
		t.Errorf("the layer has %d bytes of kl-engine", len(program))
	}
}

// A file that becomes shorter meanwhile makes no image.
func TestWriteImageOfNothing(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.Close()
	if err := tour.WriteImage(io.Discard, r); err == nil {
		t.Error("a pipe made an image")
	}
}
