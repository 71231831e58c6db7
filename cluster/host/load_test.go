package host_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/host"
	"github.com/klkube/kl/cluster/images"
)

// archive writes an archive of some entries.
func archive(t *testing.T, entries []clustertest.TarEntry) images.Archive {
	t.Helper()
	path := filepath.Join(t.TempDir(), "images.tar")
	write(t, path, string(clustertest.Tar(entries...)))
	return images.Archive{Path: path}
}

const app = "docker.io/library/app:1"

func TestLoadImages(t *testing.T) {
	docker, oci := clustertest.DockerArchive("app:1"), clustertest.OCIArchive(app)
	tests := []struct {
		name    string
		archive []clustertest.TarEntry
		have    func(digest string) cluster.Image // of n1
		skipped bool
	}{
		{"nothing there", oci, func(string) cluster.Image { return cluster.Image{} }, false},
		{"same config", docker, func(d string) cluster.Image { return cluster.Image{Names: []string{app}, Config: d} }, true},
		{"same manifest", oci, func(d string) cluster.Image { return cluster.Image{Names: []string{app}, Digest: d} }, true},
		{"other content of that name", oci, func(string) cluster.Image { return cluster.Image{Names: []string{app}, Digest: "sha256:old"} }, false},
		{"content without the name", oci, func(d string) cluster.Image {
			return cluster.Image{Names: []string{"docker.io/library/app:0"}, Digest: d}
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.mustUp(t, request(2))
			l := b.Home.Cluster("demo")
			file := archive(t, tt.archive)
			found, err := file.Images()
			if err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal([]cluster.Image{tt.have(found[0].Digests[0])})
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(l.NodeDir("n1"), clustertest.ImagesFile), string(data))
			loaded, err := b.LoadImages(t.Context(), "demo", file)
			if err != nil {
				t.Fatal(err)
			}
			for _, got := range loaded {
				if want := tt.skipped && got.Node == "n1"; got.Skipped != want {
					t.Errorf("%s: skipped is %v", got.Node, got.Skipped)
				}
				posted, err := os.ReadFile(filepath.Join(l.NodeDir(got.Node), clustertest.PostedFile))
				if sent := err == nil && bytes.Contains(posted, []byte("rootfs")); sent == got.Skipped {
					t.Errorf("%s: sent is %v", got.Node, sent)
				}
			}
			if len(loaded) != 2 {
				t.Errorf("%d nodes", len(loaded))
			}
		})
	}
}

// TestLoadShared: a layer is sent once for all nodes, and not at all if it is there.
func TestLoadShared(t *testing.T) {
	for name, entries := range map[string][]clustertest.TarEntry{"docker": clustertest.DockerArchive("app:1"), "oci": clustertest.OCIArchive(app)} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.mustUp(t, request(2))
			l := b.Home.Cluster("demo")
			for _, n := range []string{"n1", "n2"} {
				write(t, filepath.Join(l.NodeDir(n), clustertest.LayersFile), "[]")
			}
			for _, want := range []int{1, 0} {
				loaded, err := b.LoadImages(t.Context(), "demo", archive(t, entries))
				if err != nil {
					t.Fatal(err)
				}
				for _, n := range loaded {
					if n.Layers == nil || *n.Layers != want || n.Skipped {
						t.Errorf("%+v, want %d layers", n, want)
					}
					var parts []cluster.ImageParts
					data, err := os.ReadFile(filepath.Join(l.NodeDir(n.Node), clustertest.PostedFile))
					if err != nil || json.Unmarshal(data, &parts) != nil || len(parts) != 1 || parts[0].Names[0] != app || len(parts[0].Blobs) != 2 || parts[0].Source != "file images.tar" {
						t.Errorf("%s was sent %s, %v", n.Node, data, err)
					}
				}
			}
		})
	}
}

func TestLoadImagesNeedsTheCluster(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(2))
	file := archive(t, clustertest.OCIArchive(app))
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

// TestLoadDamaged: a layer that is not what the configuration says is refused in the node's words, and what is read is shown.
func TestLoadDamaged(t *testing.T) {
	b := newBench(t)
	b.mustUp(t, request(1))
	write(t, filepath.Join(b.Home.Cluster("demo").NodeDir("n1"), clustertest.LayersFile), "[]")
	var seen []host.Loading
	b.Loading = func(l host.Loading) { seen = append(seen, l) }
	entries := clustertest.DockerArchive("app:1")
	entries[1].Data = strings.Replace(entries[1].Data, "hello\n", "jello\n", 1)
	_, err := b.LoadImages(t.Context(), "demo", archive(t, entries))
	if err == nil || !regexp.MustCompile(`^load .*images.tar on node n1: layer sha256:\w+ has digest sha256:\w+$`).MatchString(err.Error()) {
		t.Errorf("error is %v", err)
	}
	var full *cluster.Error
	if errors.As(err, &full) && full.Hint != "" {
		t.Errorf("hint is %q", full.Hint)
	}
	last := seen[len(seen)-1]
	if last.Layer != 1 || last.Layers != 1 || last.Bytes != int64(len(entries[1].Data)) || !strings.HasSuffix(last.Title, "images.tar") {
		t.Errorf("seen at last: %+v", last)
	}
	if list, err := b.ListImages(t.Context(), "demo"); err != nil || len(list.Images) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}
