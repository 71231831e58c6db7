package host_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster/host"

	"github.com/google/go-cmp/cmp"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
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

// archive writes a tar of files, given as name, content, name, content…
func archive(t *testing.T, compress bool, files ...string) host.Archive {
	t.Helper()
	var entries []clustertest.TarEntry
	for i := 0; i < len(files); i += 2 {
		entries = append(entries, clustertest.File(files[i], files[i+1]))
	}
	data := clustertest.Tar(entries...)
	if compress {
		var z bytes.Buffer
		gz := gzip.NewWriter(&z)
		if _, err := gz.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := gz.Close(); err != nil {
			t.Fatal(err)
		}
		data = z.Bytes()
	}
	path := filepath.Join(t.TempDir(), "images.tar")
	write(t, path, string(data))
	return host.Archive{Path: path}
}

func TestReadArchive(t *testing.T) {
	tests := []struct {
		name     string
		compress bool
		parts    []string
		files    []string
		want     []host.ArchiveImage
	}{
		{"docker", false, parts[:10], []string{"manifest.json", dockerManifest}, []host.ArchiveImage{
			{Names: []string{"docker.io/library/app:1", "ghcr.io/me/app:1"}, Digests: []string{"sha256:c0ffee"}},
		}},
		{"gzip", true, parts[:10], []string{"./manifest.json", newManifest}, []host.ArchiveImage{
			{Names: []string{"docker.io/library/app:1"}, Digests: []string{"sha256:c0ffee"}},
		}},
		{"written by crane", false, parts[:10], []string{"manifest.json", craneManifest}, []host.ArchiveImage{
			{Names: []string{"docker.io/library/app:1"}, Digests: []string{"sha256:c0ffee"}},
		}},
		{"OCI", false, parts, []string{"index.json", ociIndex}, []host.ArchiveImage{
			{Names: []string{"docker.io/library/app:1"}, Digests: []string{"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}},
		}},
		{"nameless", false, parts, []string{"index.json", namelessIndex}, []host.ArchiveImage{{Digests: []string{"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}}},
		{"both, as newer Dockers write", false, parts, []string{"index.json", ociIndex, "manifest.json", newManifest}, []host.ArchiveImage{
			{Names: []string{"docker.io/library/app:1"}, Digests: []string{"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "sha256:c0ffee"}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := host.ReadArchive(archive(t, tt.compress, append(slices.Clone(tt.parts), tt.files...)...).Path)
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
			if _, err := host.ReadArchive(path); !errors.Is(err, host.ErrNotArchive) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestLoadImages(t *testing.T) {
	tests := []struct {
		name    string
		have    []cluster.Image // of n1
		skipped bool
	}{
		{name: "nothing there"},
		{name: "same config", skipped: true, have: []cluster.Image{{Names: []string{"docker.io/library/app:1"}, Config: "sha256:c0ffee"}}},
		{name: "same manifest", skipped: true, have: []cluster.Image{{Names: []string{"docker.io/library/app:1"}, Digest: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}},
		{name: "other content of that name", have: []cluster.Image{{Names: []string{"docker.io/library/app:1"}, Digest: "sha256:old"}}},
		{name: "content without the name", have: []cluster.Image{{Names: []string{"docker.io/library/app:0"}, Digest: "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.mustUp(t, request(2))
			l := b.Home.Cluster("demo")
			data, err := json.Marshal(tt.have)
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(l.NodeDir("n1"), clustertest.ImagesFile), string(data))
			file := archive(t, true, append(slices.Clone(parts), "index.json", ociIndex, "manifest.json", newManifest)...)
			loaded, err := b.LoadImages(t.Context(), "demo", file)
			if err != nil {
				t.Fatal(err)
			}
			for _, got := range loaded {
				if want := tt.skipped && got.Node == "n1"; got.Skipped != want {
					t.Errorf("%s: skipped is %v", got.Node, got.Skipped)
				}
				posted, err := os.ReadFile(filepath.Join(l.NodeDir(got.Node), clustertest.PostedFile))
				if sent := err == nil && bytes.Contains(posted, []byte("io.containerd.image.name")); sent == got.Skipped {
					t.Errorf("%s: sent is %v", got.Node, sent)
				}
			}
			if len(loaded) != 2 {
				t.Errorf("%d nodes", len(loaded))
			}
		})
	}
}

func TestLoadImagesNeedsTheCluster(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(2))
	file := archive(t, false, append(slices.Clone(parts[:10]), "manifest.json", dockerManifest)...)
	if err := b.fake.Stop(t.Context(), cluster.Node{Cluster: "demo", Name: "n2"}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.LoadImages(t.Context(), "demo", file); err == nil || !strings.Contains(err.Error(), "on node n2") {
		t.Errorf("error is %v", err)
	}
	must(t, b.Stop(t.Context(), "demo"))
	if _, err := b.LoadImages(t.Context(), "demo", file); err == nil || !strings.Contains(err.Error(), "control plane is stopped") {
		t.Errorf("error is %v", err)
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
		archive, err := host.CopyArchive(io.Discard, bytes.NewReader(data), "", "")
		switch images, readErr := archive.Images(); {
		case err == nil && (len(images) == 0 || readErr != nil):
			t.Error("no images, and no error")
		case err != nil && strings.Contains(err.Error(), "\n"):
			t.Errorf("more than a line: %v", err)
		}
	})
}
