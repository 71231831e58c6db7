package images_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klkube/kl/cluster/clustertest"
	"github.com/klkube/kl/cluster/images"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What containerd itself writes is read in embedded/node/images.TestEngineOfContainerd.

// blob stores a blob as a content store does.
func (e engine) blob(mediaType string, data []byte) ocispec.Descriptor {
	e.t.Helper()
	d := digest.FromBytes(data)
	e.write("content/blobs/sha256/"+d.Encoded(), data)
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func (e engine) document(mediaType string, v any) ocispec.Descriptor {
	e.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		e.t.Fatal(err)
	}
	return e.blob(mediaType, data)
}

// manifest stores an image of one layer, of which data is the compressed form.
func (e engine) manifest(layer, data []byte) (manifest, blob ocispec.Descriptor) {
	e.t.Helper()
	blob = e.blob(ocispec.MediaTypeImageLayerGzip, data)
	config := e.document(ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: here, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
	})
	return e.document(ocispec.MediaTypeImageManifest, ocispec.Manifest{Config: config, Layers: []ocispec.Descriptor{blob}}), blob
}

func (e engine) file(d digest.Digest) string {
	return filepath.Join(e.dir, "content/blobs/sha256", d.Encoded())
}

// TestContentBeside: an engine that was told to keep images in containerd still has the others' files, and each image is read from where
// it is. Documents need not say what they are.
func TestContentBeside(t *testing.T) {
	e := engine{t, t.TempDir()}
	old, oldIDs := e.add(clustertest.Tar(clustertest.File("a", "old")))
	layer := clustertest.Tar(clustertest.File("a", "new"))
	manifest, _ := e.manifest(layer, gzipped(t, layer))
	manifest.Platform = &here
	index := e.document(ocispec.MediaTypeImageIndex, ocispec.Index{Manifests: []ocispec.Descriptor{manifest}})
	names := []images.EngineImage{
		{Name: "old", ID: old}, {Name: "new:dev", ID: index.Digest.String()}, {Name: "new:dev@" + index.Digest.String(), ID: index.Digest.String()},
		{Name: "new@" + manifest.Digest.String(), ID: index.Digest.String()}, {Name: index.Digest.Encoded()[:12], ID: index.Digest.String()},
	}
	s, err := images.OpenEngine(e.dir, names)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := s.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []images.Image{{Layers: oldIDs}, {Layers: []digest.Digest{digest.FromBytes(layer)}}, {Layers: []digest.Digest{digest.FromBytes(layer)}}}
	want[0].Names = []string{"docker.io/library/old:latest"}
	want[1].Names = []string{"docker.io/library/new:dev", "docker.io/library/new@" + index.Digest.String()}
	want[2].Names = []string{"docker.io/library/new@" + manifest.Digest.String()}
	for i := range got {
		got[i].Blobs = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if data := readLayer(t, s, digest.FromBytes(layer)); !bytes.Equal(data, layer) {
		t.Error("another layer than was stored")
	}
}

// TestContentBad: what the store lacks is left to the engine, and what is damaged is named.
func TestContentBad(t *testing.T) {
	layer := clustertest.Tar(clustertest.File("a", strings.Repeat("1", 5000)))
	whole := gzipped(t, layer)
	for _, tt := range []struct {
		name  string
		spoil func(e engine, manifest, blob ocispec.Descriptor) digest.Digest // and return the image's ID
		parts bool                                                            // the error is ErrParts
		want  string
	}{
		{"a layer that was not pulled", func(e engine, m, blob ocispec.Descriptor) digest.Digest {
			check(e.t, os.Remove(e.file(blob.Digest)))
			return m.Digest
		}, true, "the engine has no blob"},
		{"another platform alone", func(e engine, m, _ ocispec.Descriptor) digest.Digest {
			m.Platform = &ocispec.Platform{OS: "linux", Architecture: "m68k"}
			return e.document("", ocispec.Index{Manifests: []ocispec.Descriptor{m}}).Digest
		}, true, "has no image for linux/"},
		{"this platform was not pulled", func(e engine, m, _ ocispec.Descriptor) digest.Digest {
			m.Platform = &here
			check(e.t, os.Remove(e.file(m.Digest)))
			return e.document("", ocispec.Index{Manifests: []ocispec.Descriptor{m}}).Digest
		}, true, "the engine has no blob"},
		{"no image", func(e engine, _, _ ocispec.Descriptor) digest.Digest { return e.blob("", []byte("hello")).Digest }, true, "read sha256:"},
		{"an old manifest", func(e engine, _, _ ocispec.Descriptor) digest.Digest {
			return e.blob("", []byte(`{"mediaType":"application/vnd.docker.distribution.manifest.v1+json"}`)).Digest
		}, true, "is of media type"},
		{"a digest that is a path", func(e engine, _, _ ocispec.Descriptor) digest.Digest {
			return e.document("", ocispec.Manifest{Config: ocispec.Descriptor{Digest: "sha256:../../x"}, Layers: []ocispec.Descriptor{{}}}).Digest
		}, true, "is not a digest"},
		{"a link out of the store", func(e engine, m, blob ocispec.Descriptor) digest.Digest {
			outside := filepath.Join(e.t.TempDir(), "layer")
			check(e.t, errors.Join(os.Rename(e.file(blob.Digest), outside), os.Symlink(outside, e.file(blob.Digest))))
			return m.Digest
		}, false, "escapes"},
		{"a manifest that was changed", func(e engine, m, _ ocispec.Descriptor) digest.Digest {
			check(e.t, os.WriteFile(e.file(m.Digest), []byte("{}"), 0o600))
			return m.Digest
		}, false, m0 + " has digest sha256:"},
		{"a layer that was cut off", func(e engine, m, blob ocispec.Descriptor) digest.Digest {
			check(e.t, os.Truncate(e.file(blob.Digest), 10))
			return m.Digest
		}, false, "has 10 bytes, and its manifest says"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := engine{t, t.TempDir()}
			manifest, blob := e.manifest(layer, whole)
			id := tt.spoil(e, manifest, blob)
			s, err := images.OpenEngine(e.dir, []images.EngineImage{{Name: "app", ID: id.String()}})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			want := strings.ReplaceAll(tt.want, m0, manifest.Digest.String())
			if list, err := s.Images(t.Context()); err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, images.ErrParts) != tt.parts {
				t.Errorf("images %+v, error %v, want %q and ErrParts %v", list, err, want, tt.parts)
			}
		})
	}
}

// m0 stands for the digest of an image's manifest.
const m0 = "MANIFEST"

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestContentDamagedLayer: a layer whose compression is damaged is named when it is read.
func TestContentDamagedLayer(t *testing.T) {
	layer := clustertest.Tar(clustertest.File("a", strings.Repeat("1", 5000)))
	data := gzipped(t, layer)
	data[len(data)/2] ^= 0xff
	e := engine{t, t.TempDir()}
	manifest, _ := e.manifest(layer, data)
	s, err := images.OpenEngine(e.dir, []images.EngineImage{{Name: "app", ID: manifest.Digest.String()}})
	check(t, err)
	defer s.Close()
	_, err = s.Images(t.Context())
	check(t, err)
	r, err := s.Layer(t.Context(), digest.FromBytes(layer))
	check(t, err)
	defer r.Close()
	_, err = bytes.NewBuffer(nil).ReadFrom(r)
	if want := "read layer " + digest.FromBytes(layer).String() + ": its gzip compression is damaged"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}
