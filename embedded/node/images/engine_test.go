package images

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	imagearchive "github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/klkube/kl/cluster"
	sources "github.com/klkube/kl/cluster/images"
	"github.com/klkube/kl/embedded/node/layers"
)

// engineStore is containerd's content store, as an engine has it that keeps images there.
type engineStore struct {
	t   *testing.T
	dir string // the engine's, as nodes see it
	content.Store
}

func newEngineStore(t *testing.T) engineStore {
	t.Helper()
	dir := t.TempDir()
	s, err := local.NewStore(filepath.Join(dir, "content"))
	if err != nil {
		t.Fatal(err)
	}
	return engineStore{t, dir, s}
}

func (s engineStore) blob(mediaType string, data []byte) ocispec.Descriptor {
	s.t.Helper()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := content.WriteBlob(s.t.Context(), s, d.Digest.String(), bytes.NewReader(data), d); err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s engineStore) document(mediaType string, v any) ocispec.Descriptor {
	s.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.blob(mediaType, data)
}

// build stores what BuildKit exports with an attestation, for this platform and one whose blobs are elsewhere.
func (s engineStore) build(plain [][]byte, compressed []ocispec.Descriptor) (index, manifest ocispec.Descriptor) {
	s.t.Helper()
	var ids []digest.Digest
	for _, data := range plain {
		ids = append(ids, digest.FromBytes(data))
	}
	platform := ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH}
	config := s.document(ocispec.MediaTypeImageConfig, ocispec.Image{Platform: platform, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: ids}})
	version := specs.Versioned{SchemaVersion: 2}
	manifest = s.document(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: version, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: compressed,
	})
	statement := s.blob("application/vnd.in-toto+json", []byte(`{"_type":"https://in-toto.io/Statement/v0.1"}`))
	attestation := s.document(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: version, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{statement},
		Config: s.document(ocispec.MediaTypeImageConfig, ocispec.Image{Platform: ocispec.Platform{OS: "unknown", Architecture: "unknown"}}),
	})
	attestation.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	attestation.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": manifest.Digest.String()}
	absent := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("absent"), Size: 6,
		Platform: &ocispec.Platform{OS: "linux", Architecture: "s390x"}}
	named := manifest
	named.Platform = &platform
	index = s.document(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: version, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{absent, attestation, named},
	})
	return index, manifest
}

// TestEngineOfContainerd takes an image out of a content store that containerd wrote, layers of all compressions, into a node.
func TestEngineOfContainerd(t *testing.T) {
	needRoot(t)
	s := newEngineStore(t)
	plain := [][]byte{
		archive(t, file{"zipped", []byte("1")}), archive(t, file{"zstandard", []byte("2")}), archive(t, file{"plain", []byte("3")}), archive(t, file{"zipped", []byte("4")}),
	}
	index, manifest := s.build(plain, []ocispec.Descriptor{
		s.blob(ocispec.MediaTypeImageLayerGzip, gzipped(t, plain[0])), s.blob(ocispec.MediaTypeImageLayerZstd, zstandard(t, plain[1])),
		s.blob(ocispec.MediaTypeImageLayer, plain[2]), s.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", gzipped(t, plain[3])),
	})
	source, err := sources.OpenEngine(s.dir, []sources.EngineImage{
		{Name: "app:dev", ID: index.Digest.String()}, {Name: "app:dev@" + index.Digest.String(), ID: index.Digest.String()},
		{Name: "one@" + manifest.Digest.String(), ID: index.Digest.String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	list, err := source.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	node := checkNode(t, source, list, map[string]string{"zipped": "4", "zstandard": "2", "plain": "3"})
	want := []cluster.Image{
		{Names: []string{"docker.io/library/app:dev", "docker.io/library/app@" + index.Digest.String()}, Digest: index.Digest.String(), Source: "loaded"},
		{Names: []string{"docker.io/library/one@" + manifest.Digest.String()}, Digest: manifest.Digest.String(), Source: "loaded"},
	}
	for i := range node {
		node[i].Config, node[i].Size = "", 0
	}
	if diff := cmp.Diff(want, node); diff != "" {
		t.Errorf("images of the node (-want +got):\n%s", diff)
	}
}

// TestEngineOfImport reads what containerd's own importer made of an archive of `docker save`, of which it compresses the layers.
func TestEngineOfImport(t *testing.T) {
	needRoot(t)
	s := newEngineStore(t)
	data, _ := dockerArchive(t, "imported", "app:1")
	top, err := imagearchive.ImportIndex(t.Context(), s.Store, bytes.NewReader(data), imagearchive.WithImportCompression())
	if err != nil {
		t.Fatal(err)
	}
	text, err := content.ReadBlob(t.Context(), s.Store, top)
	if err != nil {
		t.Fatal(err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(text, &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("index %s, %v", text, err)
	}
	source, err := sources.OpenEngine(s.dir, []sources.EngineImage{{Name: "app:1", ID: index.Manifests[0].Digest.String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	list, err := source.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkNode(t, source, list, map[string]string{"hello": "imported"})
}

// checkNode gives images to a node as kl does: first their layers, which are checked by digest, then the rest. A container over the first
// image must see files with that content. It returns the images that the node has then.
func checkNode(t *testing.T, source sources.Source, list []sources.Image, files map[string]string) []cluster.Image {
	t.Helper()
	dir := t.TempDir()
	store, err := layers.Open(dir, "n0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, s, snapshotter := sharing(t, dir, "n1")
	var parts []cluster.ImageParts
	for _, image := range list {
		parts = append(parts, image.ImageParts)
		var below []digest.Digest // the nearest first
		for _, id := range image.Layers {
			r, err := source.Layer(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(store.Add(ctx, slog.New(slog.DiscardHandler), id, below, r), r.Close()); err != nil {
				t.Fatal(err)
			}
			below = slices.Insert(below, 0, id)
		}
	}
	made, err := s.Assemble(ctx, parts)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		if got := contentOf(ctx, t, snapshotter, list[0].Layers, name); got != want {
			t.Errorf("%s has content %q, want %q", name, got, want)
		}
	}
	return made
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	return compress(t, &b, w, data)
}

func zstandard(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	return compress(t, &b, w, data)
}

func compress(t *testing.T, b *bytes.Buffer, w io.WriteCloser, data []byte) []byte {
	t.Helper()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
