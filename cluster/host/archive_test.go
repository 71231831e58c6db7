package host_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
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
	ociIndex       = `{"manifests":[{"digest":"sha256:feed","annotations":{"io.containerd.image.name":"docker.io/library/app:1",` +
		`"org.opencontainers.image.ref.name":"1"}}]}`
	namelessIndex = `{"manifests":[{"digest":"sha256:feed","annotations":{"org.opencontainers.image.ref.name":"latest"}}]}`
)

// archive writes a tar of files, given as name, content, name, content…
func archive(t *testing.T, compress bool, files ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data := b.Bytes()
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
	return path
}

func TestReadArchive(t *testing.T) {
	tests := []struct {
		name     string
		compress bool
		files    []string
		want     []host.ArchiveImage
	}{
		{"docker", false, []string{"x/layer.tar", "…", "manifest.json", dockerManifest}, []host.ArchiveImage{
			{Names: []string{"docker.io/library/app:1", "ghcr.io/me/app:1"}, Digests: []string{"sha256:c0ffee"}},
		}},
		{"gzip", true, []string{"./manifest.json", newManifest}, []host.ArchiveImage{
			{Names: []string{"docker.io/library/app:1"}, Digests: []string{"sha256:c0ffee"}},
		}},
		{"written by crane", false, []string{"manifest.json", craneManifest}, []host.ArchiveImage{
			{Names: []string{"docker.io/library/app:1"}, Digests: []string{"sha256:c0ffee"}},
		}},
		{"OCI", false, []string{"oci-layout", "{}", "index.json", ociIndex}, []host.ArchiveImage{
			{Names: []string{"docker.io/library/app:1"}, Digests: []string{"sha256:feed"}},
		}},
		{"nameless", false, []string{"index.json", namelessIndex}, []host.ArchiveImage{{Digests: []string{"sha256:feed"}}}},
		{"both, as newer Dockers write", false, []string{"index.json", ociIndex, "manifest.json", newManifest}, []host.ArchiveImage{
			{Names: []string{"docker.io/library/app:1"}, Digests: []string{"sha256:feed", "sha256:c0ffee"}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := host.ReadArchive(archive(t, tt.compress, tt.files...))
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
				path = archive(t, false, "README", "hello")
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
		{name: "same manifest", skipped: true, have: []cluster.Image{{Names: []string{"docker.io/library/app:1"}, Digest: "sha256:feed"}}},
		{name: "other content of that name", have: []cluster.Image{{Names: []string{"docker.io/library/app:1"}, Digest: "sha256:old"}}},
		{name: "content without the name", have: []cluster.Image{{Names: []string{"docker.io/library/app:0"}, Digest: "sha256:feed"}}},
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
			file := archive(t, true, "index.json", ociIndex, "manifest.json", newManifest)
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
	file := archive(t, false, "manifest.json", dockerManifest)
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
