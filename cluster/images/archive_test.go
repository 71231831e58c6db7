package images_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/images"
)

const (
	dockerManifest = `[{"Config":"c0ffee.json","RepoTags":["app:1","ghcr.io/me/app:1"],"Layers":["x/layer.tar"]}]`
	newManifest    = `[{"Config":"blobs/sha256/c0ffee","RepoTags":["app:1"],"Layers":[]}]`
	craneManifest  = `[{"Config":"sha256:c0ffee","RepoTags":["app:1"],"Layers":["beef.tar.gz"]}]`
	ociIndex       = `{"manifests":[{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","annotations":{"io.containerd.image.name":"docker.io/library/app:1",` +
		`"org.opencontainers.image.ref.name":"1"}}]}`
	namelessIndex = `{"manifests":[{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","annotations":{"org.opencontainers.image.ref.name":"latest"}}]}`
)

// parts are files that the indexes above name.
var parts = []string{
	"c0ffee.json", "{}", "x/layer.tar", "…", "blobs/sha256/c0ffee", "{}", "sha256:c0ffee", "{}", "beef.tar.gz", "…",
	"oci-layout", `{"imageLayoutVersion":"1.0.0"}`, "blobs/sha256/44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "{}",
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	gz := gzip.NewWriter(&z)
	if _, err := gz.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}

// archive writes a tar of files, given as name, content, name, content…
func archive(t *testing.T, compress bool, files ...string) images.Archive {
	t.Helper()
	var entries []clustertest.TarEntry
	for i := 0; i < len(files); i += 2 {
		entries = append(entries, clustertest.File(files[i], files[i+1]))
	}
	data := clustertest.Tar(entries...)
	if compress {
		data = gzipped(t, data)
	}
	path := filepath.Join(t.TempDir(), "images.tar")
	write(t, path, string(data))
	return images.Archive{Path: path}
}

func TestReadArchive(t *testing.T) {
	tests := []struct {
		name     string
		compress bool
		parts    []string
		files    []string
		want     []images.ArchiveImage
	}{
		{"docker", false, parts[:10], []string{"manifest.json", dockerManifest}, []images.ArchiveImage{
			{Names: []string{"docker.io/library/app:1", "ghcr.io/me/app:1"}, Digests: []string{"sha256:c0ffee"}},
		}},
		{"gzip", true, parts[:10], []string{"./manifest.json", newManifest}, []images.ArchiveImage{
			{Names: []string{"docker.io/library/app:1"}, Digests: []string{"sha256:c0ffee"}},
		}},
		{"written by crane", false, parts[:10], []string{"manifest.json", craneManifest}, []images.ArchiveImage{
			{Names: []string{"docker.io/library/app:1"}, Digests: []string{"sha256:c0ffee"}},
		}},
		{"OCI", false, parts, []string{"index.json", ociIndex}, []images.ArchiveImage{
			{Names: []string{"docker.io/library/app:1"}, Digests: []string{"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}},
		}},
		{"nameless", false, parts, []string{"index.json", namelessIndex}, []images.ArchiveImage{{Digests: []string{"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}}},
		{"both, as newer Dockers write", false, parts, []string{"index.json", ociIndex, "manifest.json", newManifest}, []images.ArchiveImage{
			{Names: []string{"docker.io/library/app:1"}, Digests: []string{"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "sha256:c0ffee"}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := images.ReadArchive(archive(t, tt.compress, append(slices.Clone(tt.parts), tt.files...)...).Path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for name, content := range map[string]string{"text": "hello, world\n", "empty": "", "tar of something else": ""} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if strings.HasPrefix(name, "tar") {
				path = archive(t, false, "README", "hello").Path
			} else {
				write(t, path, content)
			}
			if _, err := images.ReadArchive(path); !errors.Is(err, images.ErrNotArchive) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

// FuzzReadArchive checks that no archive makes the reader panic, or say more than a line.
func FuzzReadArchive(f *testing.F) {
	for _, entries := range [][]clustertest.TarEntry{clustertest.DockerArchive("app:1"), clustertest.OCIArchive("docker.io/library/app:1")} {
		data := clustertest.Tar(entries...)
		f.Add(data)
		var z bytes.Buffer
		gz := gzip.NewWriter(&z)
		if _, err := gz.Write(data); err != nil || gz.Close() != nil {
			f.Fatal(err)
		}
		f.Add(z.Bytes())
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		archive, err := images.CopyArchive(io.Discard, bytes.NewReader(data), "", "")
		switch images, readErr := archive.Images(); {
		case err == nil && (len(images) == 0 || readErr != nil):
			t.Error("no images, and no error")
		case err != nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("more than a line: %v", err)
		}
	})
}
