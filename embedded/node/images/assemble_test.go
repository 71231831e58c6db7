package images

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/klkube/kl/cluster"
	"github.com/klkube/kl/embedded/node/layers"
)

// sharing returns a Store over a snapshotter that keeps layers in a directory, as that node.
func sharing(t *testing.T, dir, node string) (context.Context, *Store, snapshots.Snapshotter) {
	t.Helper()
	o, err := overlay.NewSnapshotter(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := layers.Open(dir, node)
	if err != nil {
		t.Fatal(err)
	}
	s, err := layers.NewSnapshotter(t.Context(), o, l, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return newStoreOn(t, s)
}

// parts are those of an image of layers, with an index around its manifest that names another platform, too.
func parts(t *testing.T, names []string, blobs ...[]byte) (p cluster.ImageParts, ids []digest.Digest) {
	t.Helper()
	encode := func(mediaType string, v any) (cluster.Blob, ocispec.Descriptor) {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		b := cluster.Blob{MediaType: mediaType, Data: data}
		return b, descriptor(b)
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, data := range blobs {
		ids = append(ids, digest.FromBytes(data))
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))})
	}
	platform := ocispec.Platform{OS: "linux", Architecture: "amd64"}
	config, d := encode(ocispec.MediaTypeImageConfig, ocispec.Image{Platform: platform, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: ids}})
	m.Config = d
	manifest, d := encode(ocispec.MediaTypeImageManifest, m)
	d.Platform = &platform
	absent := ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("absent"), Size: 9, Platform: &ocispec.Platform{OS: "linux", Architecture: "s390x"},
	}
	index, _ := encode(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{absent, d},
	})
	return cluster.ImageParts{Names: names, Blobs: []cluster.Blob{index, manifest, config}}, ids
}

// contentOf reads a file of a container over the layers of an image.
func contentOf(ctx context.Context, t *testing.T, s snapshots.Snapshotter, ids []digest.Digest, file string) string {
	t.Helper()
	mounts, err := s.View(ctx, "view "+t.Name()+file, identity.ChainID(ids).String())
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	if err := mount.WithReadonlyTempMount(ctx, mounts, func(root string) error {
		data, err = os.ReadFile(filepath.Join(root, file))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestAssemble(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	store, err := layers.Open(dir, "n0")
	if err != nil {
		t.Fatal(err)
	}
	base, change := archive(t, file{"hello", []byte("base")}, file{"kept", []byte("base")}), archive(t, file{"hello", []byte("changed")})
	p, ids := parts(t, []string{"docker.io/library/app:dev", "example.com/app:1"}, base, change)
	ctx, s, snapshotter := sharing(t, dir, "n1")

	if err := store.Add(ctx, slog.New(slog.DiscardHandler), ids[0], nil, bytes.NewReader(base)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Assemble(ctx, []cluster.ImageParts{p}); err == nil || !strings.Contains(err.Error(), ids[1].String()) {
		t.Errorf("an image without its second layer: %v, want an error that names the layer", err)
	}
	if list, err := s.List(ctx); err != nil || len(list) > 0 {
		t.Errorf("it left %+v, %v", list, err)
	}
	if err := store.Add(ctx, slog.New(slog.DiscardHandler), ids[1], ids[:1], bytes.NewReader(change)); err != nil {
		t.Fatal(err)
	}
	made, err := s.Assemble(ctx, []cluster.ImageParts{p})
	if err != nil {
		t.Fatal(err)
	}
	d := descriptor(p.Blobs[0]).Digest.String()
	p.Source = "file app.tar"
	if _, err := s.Assemble(ctx, []cluster.ImageParts{p}); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(ctx); err != nil || len(list) != 1 || list[0].Source != "file app.tar" {
		t.Errorf("assembled again from a file: %+v, %v", list, err)
	}
	want := []cluster.Image{{
		Names:  []string{"docker.io/library/app:dev", "docker.io/library/app@" + d, "example.com/app:1", "example.com/app@" + d},
		Digest: d, Config: descriptor(p.Blobs[2]).Digest.String(), Size: made[0].Size, Source: "loaded",
	}}
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	for file, want := range map[string]string{"hello": "changed", "kept": "base"} {
		if got := contentOf(ctx, t, snapshotter, ids, file); got != want {
			t.Errorf("a container reads %s as %q, want %q", file, got, want)
		}
	}
	// Another node has it of this one.
	loaded, err := s.Loaded(ctx)
	if err != nil || len(loaded) != 1 || len(loaded[0].Blobs) != 3 || loaded[0].Source != p.Source || time.Since(loaded[0].Since) > time.Hour {
		t.Fatalf("loaded images are %+v, %v", loaded, err)
	}
	ctx, s, _ = sharing(t, dir, "n3")
	if made, err = s.Assemble(ctx, loaded); err != nil {
		t.Fatal(err)
	}
	want[0].Source = p.Source
	if diff := cmp.Diff(want, made); diff != "" {
		t.Errorf("made of another node's (-want +got):\n%s", diff)
	}
	// A rebuilt image takes the name, in another node.
	ctx, s, snapshotter = sharing(t, dir, "n2")
	rebuilt := archive(t, file{"hello", []byte("rebuilt")})
	if _, err := s.Assemble(ctx, []cluster.ImageParts{p}); err != nil {
		t.Fatal(err)
	}
	p, ids = parts(t, p.Names[:1], base, rebuilt)
	if err := store.Add(ctx, slog.New(slog.DiscardHandler), ids[1], ids[:1], bytes.NewReader(rebuilt)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Assemble(ctx, []cluster.ImageParts{p}); err != nil {
		t.Fatal(err)
	}
	if got := contentOf(ctx, t, snapshotter, ids, "hello"); got != "rebuilt" {
		t.Errorf("a container of the rebuilt image reads %q", got)
	}
	image, err := s.client.ImageService().Get(ctx, "docker.io/library/app:dev")
	if err != nil || image.Target.Digest != descriptor(p.Blobs[0]).Digest {
		t.Errorf("app:dev is %v, %v", image.Target.Digest, err)
	}
}

func TestAssembleBad(t *testing.T) {
	needRoot(t)
	ctx, s, _ := sharing(t, t.TempDir(), "n1")
	good, _ := parts(t, []string{"example.com/a:1"})
	for name, p := range map[string]cluster.ImageParts{
		"no blobs":            {Names: good.Names},
		"not JSON":            {Names: good.Names, Blobs: []cluster.Blob{{MediaType: ocispec.MediaTypeImageManifest, Data: []byte("hello")}}},
		"without its parts":   {Names: good.Names, Blobs: good.Blobs[:1]},
		"without its config":  {Names: good.Names, Blobs: good.Blobs[:2]},
		"of an unknown kind":  {Names: good.Names, Blobs: []cluster.Blob{{MediaType: "text/plain", Data: []byte("hello")}}},
		"of another platform": {Names: good.Names, Blobs: []cluster.Blob{{MediaType: ocispec.MediaTypeImageIndex, Data: []byte(`{"schemaVersion":2,"manifests":[]}`)}}},
	} {
		if made, err := s.Assemble(ctx, []cluster.ImageParts{p}); err == nil {
			t.Errorf("%s: made %+v", name, made)
		}
	}
	if list, err := s.List(ctx); err != nil || len(list) > 0 {
		t.Errorf("they left %+v, %v", list, err)
	}
}
