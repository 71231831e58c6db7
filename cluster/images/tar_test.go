package images_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/images"

	"github.com/google/go-cmp/cmp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var here = ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}

// TestArchiveSource takes archives apart, plain and compressed.
func TestArchiveSource(t *testing.T) {
	layer := clustertest.Tar(clustertest.File("hello", "hello\n"))
	for name, entries := range map[string][]clustertest.TarEntry{
		"docker": clustertest.DockerArchive("app:1", "example.com/app:2"), "oci": clustertest.OCIArchive("docker.io/library/app:1"),
	} {
		for _, compress := range []bool{false, true} {
			path := filepath.Join(t.TempDir(), "images.tar")
			data := clustertest.Tar(entries...)
			if compress {
				data = gzipped(t, data)
			}
			write(t, path, string(data))
			s, err := images.Archive{Path: path}.Open()
			if err != nil {
				t.Fatal(err)
			}
			list, err := s.Images(t.Context())
			if err != nil || len(list) != 1 || len(list[0].Layers) != 1 {
				t.Fatalf("%s, compressed %v: %+v, %v", name, compress, list, err)
			}
			want := []string{"docker.io/library/app:1"}
			if name == "docker" {
				want = append(want, "example.com/app:2")
			}
			if diff := cmp.Diff(want, list[0].Names); diff != "" {
				t.Errorf("%s: names (-want +got):\n%s", name, diff)
			}
			for range 2 {
				if got := readLayer(t, s, list[0].Layers[0]); !bytes.Equal(got, layer) {
					t.Errorf("%s, compressed %v: a layer of %d bytes, want %d", name, compress, len(got), len(layer))
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestCannotBeTakenApart: what is not as expected is left to containerd.
func TestCannotBeTakenApart(t *testing.T) {
	const manifest = `[{"Config":"c.json","RepoTags":["app:1"],"Layers":["l.tar"]}]`
	for name, files := range map[string][]string{
		"another platform": {"manifest.json", manifest, "l.tar", "x", "c.json", `{"os":"linux","architecture":"m68k","rootfs":{"diff_ids":["sha256:x"]}}`},
		"no layers":        {"manifest.json", manifest, "l.tar", "x", "c.json", `{"os":"linux","architecture":"` + runtime.GOARCH + `"}`},
		"not a digest":     {"manifest.json", manifest, "l.tar", "x", "c.json", `{"os":"linux","architecture":"` + runtime.GOARCH + `","rootfs":{"diff_ids":["../x"]}}`},
		"no configuration": {"manifest.json", manifest, "l.tar", "x", "c.json", "hello"},
		"an old manifest": {"oci-layout", "{}", "index.json", `{"manifests":[{"mediaType":"application/vnd.docker.distribution.manifest.v1+json",` +
			`"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}]}`},
		"a missing blob": {"oci-layout", "{}", "index.json", `{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
			`"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}]}`},
	} {
		s, err := archive(t, false, files...).Open()
		if err != nil {
			t.Fatal(err)
		}
		if list, err := s.Images(t.Context()); !errors.Is(err, images.ErrParts) {
			t.Errorf("%s: %+v, %v, want ErrParts", name, list, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
